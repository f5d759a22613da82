"""Sessions of one model on one device, made into one measurement with its verdict. Pure functions."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import NormalDist, median

import numpy as np

from hilnas.farm.protocol import CONFIDENCE, Protocol
from hilnas.trial import CanaryReading, Evidence, Latency, Measurement, SessionFigure, Verdict

RESAMPLES = 4000
"""Bootstrap resamples behind an interval over several sessions."""

_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
_OF_ALL = ("interval", "session-spread")
"""Rules that concern the whole measurement, not a session."""


def broken_rules(session: Measurement) -> list[Evidence]:
    """Return the rules that spoil a session; how wide its interval is, is judged over all sessions.

    What the preflight found is told, and does not spoil what the session's own rules find sound.
    """
    return [e for e in session.evidence if not (e.passed or e.preflight or e.rule in _OF_ALL)]


def spoiling(measurement: Measurement) -> list[Evidence]:
    """Return the rules that made a measurement UNSTABLE."""
    return [e for e in measurement.evidence if not (e.passed or e.preflight or e.rule.startswith("energy-"))]


def in_doubt(found: Measurement, off: CanaryReading, most: float) -> Measurement:
    """Return a measurement as UNSTABLE because its device's canary is off: its interval takes the drift in."""
    evidence = Evidence("canary", False, off.message, off.drift, most)
    latency, drift = found.latency, off.drift or 0.0
    if latency is not None:
        ends = (latency.low_ms, latency.low_ms / (1 + drift), latency.high_ms, latency.high_ms / (1 + drift))
        latency = replace(latency, low_ms=min(ends), high_ms=max(ends))
    return replace(
        found,
        verdict=Verdict.UNSTABLE,
        message="; ".join(filter(None, [found.message, off.message])),
        evidence=(*found.evidence, evidence),
        latency=latency,
    )


def combine(sessions: Sequence[Measurement], protocol: Protocol, seed: int = 0) -> Measurement:
    """Return the measurement of sessions with figures (at least one), in the order taken, of one device.

    The median of the sessions' medians. Its interval: a percentile bootstrap that draws sessions and,
    within each, a median from its own interval. UNSTABLE when a rule is broken; its interval then
    spans the 5th to the 95th percentile of what was seen, so that its uncertainty is not hidden.
    """
    figures = [latency for latency in (session.latency for session in sessions) if latency is not None]
    if len(figures) != len(sessions) or not figures:
        raise ValueError("every session must have a figure, and there must be one")
    middle = median(figure.median_ms for figure in figures)
    low, high = _interval(figures, seed)
    evidence = [*_evidence_of(sessions), *_overall(figures, middle, low, high, protocol)]
    broken = [each for each in evidence if not (each.passed or each.preflight)]
    verdict = Verdict.UNSTABLE if broken else Verdict.TRUSTED
    if broken:
        low = min(low, *(figure.p5_ms for figure in figures), middle)
        high = max(high, *(figure.p95_ms for figure in figures), middle)
    return replace(
        sessions[-1],
        verdict=verdict,
        message="; ".join(each.text for each in broken),
        evidence=tuple(evidence),
        sessions=tuple(_session(s, f) for s, f in zip(sessions, figures, strict=True)),
        latency=_pooled(figures, middle, low, high),
        peak_memory_kib=_most(s.peak_memory_kib for s in sessions),
        load_memory_kib=_most(s.load_memory_kib for s in sessions),
        run_memory_kib=_most(s.run_memory_kib for s in sessions),
        arena_kib=_most(s.arena_kib for s in sessions),
        started_unix_ms=sessions[0].started_unix_ms,
        device_ms=sum(session.device_ms for session in sessions),
        attempt=max(session.attempt for session in sessions),
    )


def _interval(figures: Sequence[Latency], seed: int) -> tuple[float, float]:
    if len(figures) == 1:
        return figures[0].low_ms, figures[0].high_ms
    medians = np.array([figure.median_ms for figure in figures])
    errors = np.array([(figure.high_ms - figure.low_ms) / (2 * _Z) for figure in figures])
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(figures), size=(RESAMPLES, len(figures)))
    resampled = medians[drawn] + errors[drawn] * rng.standard_normal(drawn.shape)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(resampled, axis=1), (tail, 1 - tail))
    return float(low), float(high)


def _overall(
    figures: Sequence[Latency], middle: float, low: float, high: float, protocol: Protocol
) -> list[Evidence]:
    sampling = protocol.sampling
    half = (high - low) / 2 / middle
    found = [
        Evidence(
            "interval",
            half <= sampling.max_half_width,
            f"the interval's half-width is {half:.1%} of the median, at most {sampling.max_half_width:.1%} allowed",
            half,
            sampling.max_half_width,
        )
    ]
    if len(figures) > 1:
        medians = [figure.median_ms for figure in figures]
        spread = (max(medians) - min(medians)) / middle
        found.append(
            Evidence(
                "session-spread",
                spread <= sampling.max_session_spread,
                f"{len(figures)} sessions are {spread:.1%} apart, at most {sampling.max_session_spread:.1%} allowed",
                spread,
                sampling.max_session_spread,
            )
        )
    if len(figures) < sampling.sessions:
        found.append(
            Evidence(
                "sessions",
                False,
                f"{len(figures)} sound sessions of {sampling.sessions}",
                float(len(figures)),
                float(sampling.sessions),
            )
        )
    return found


def _evidence_of(sessions: Sequence[Measurement]) -> list[Evidence]:
    """Return what each rule came to: the worst failure where there is one, else the closest call."""
    rules: dict[str, list[Evidence]] = {}
    for session in sessions:
        for each in session.evidence:
            if each.rule not in _OF_ALL:
                rules.setdefault(each.rule, []).append(each)
    found = []
    for entries in rules.values():
        failures = [each for each in entries if not each.passed]
        worst = max(failures or entries, key=_strain)
        if failures and len(sessions) > 1:
            worst = replace(
                worst, text=f"in {len(failures)} of {len(sessions)} sessions, at worst: {worst.text}"
            )
        found.append(worst)
    return found


def _strain(evidence: Evidence) -> float:
    """Return how far a rule was strained, larger is worse: most rules bound a value above, a few below."""
    if evidence.value is None or evidence.limit is None:
        return 0.0
    beyond = evidence.value - evidence.limit
    # A rule that bounds from below passes above its limit, and fails below.
    return -beyond if (beyond > 0) == evidence.passed and beyond != 0 else beyond


def _pooled(figures: Sequence[Latency], middle: float, low: float, high: float) -> Latency:
    if len(figures) == 1:
        return replace(figures[0], low_ms=low, high_ms=high)
    offset = 0
    aside: list[int] = []
    samples: list[int] = []
    for figure in figures:
        aside += [offset + place for place in figure.set_aside]
        samples += figure.samples_ns
        offset += len(figure.samples_ns)
    left_out = set(aside)
    kept = np.array([ns for place, ns in enumerate(samples) if place not in left_out], np.float64) / 1e6
    p5, p90, p95 = (
        (float(value) for value in np.percentile(kept, (5, 90, 95))) if len(kept) else (low, high, high)
    )
    return Latency(
        median_ms=middle,
        low_ms=low,
        high_ms=high,
        p5_ms=p5,
        p90_ms=p90,
        p95_ms=p95,
        mad_ms=float(np.median(np.abs(kept - np.median(kept)))) if len(kept) else figures[0].mad_ms,
        load_ms=median(figure.load_ms for figure in figures),
        first_ms=median(figure.first_ms for figure in figures),
        inner_loops=figures[0].inner_loops,
        samples_ns=tuple(samples),
        set_aside=tuple(aside),
    )


def _session(session: Measurement, figure: Latency) -> SessionFigure:
    return SessionFigure(
        figure.median_ms, figure.low_ms, figure.high_ms, not broken_rules(session), session.started_unix_ms
    )


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
