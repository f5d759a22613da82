"""The figure of an energy pass: median of its repeats, interval, verdict, and the rules behind it."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist, median, stdev, variance
from typing import Any

from hilnas_agent.energy.repeat import MOST_UNSEEN, Repeat
from hilnas_agent.energy.settings import EnergySettings
from hilnas_agent.energy.student import two_sided
from hilnas_agent.evidence import Evidence, at_least, at_most, failed
from hilnas_agent.meters import COUNTER, Traits

_MJ = 1e3
_MEDIAN = math.sqrt(math.pi / 2)
"""Standard error of a median over that of a mean, for many normal values; for few it is less."""
_NO_NOISE = 1e9
"""What a ratio to no noise at all is told as."""
_BLOCK_FREEDOM = 5
"""Degrees of freedom of a single repeat's own scatter, by blocks (see Trace.noise_w)."""


@dataclass(frozen=True)
class Figure:
    """The fields of the wire's Energy under `energy`, the verdict without its prefix; and the evidence."""

    energy: dict[str, Any]
    evidence: list[Evidence] = field(default_factory=list)


def unavailable(message: str, meter: str = "") -> Figure:
    """No figure, and why."""
    return Figure({"verdict": "UNAVAILABLE", "message": message, "meter": meter})


def of(
    repeats: Sequence[Repeat],
    settings: EnergySettings,
    traits: Traits,
    device: Sequence[Evidence] = (),
) -> Figure:
    """The figure of a pass; `device` are the rules that the device itself kept or broke meanwhile."""
    usable = [repeat for repeat in repeats if not repeat.problem]
    steady = [repeat for repeat in usable if repeat.idle_change <= settings.max_idle_change]
    evidence = [_gaps(repeats, usable, settings), *device]
    head: dict[str, Any] = {"meter": traits.name, "boundary": traits.boundary}
    if not usable:
        return Figure(head | {"verdict": "UNAVAILABLE", "message": evidence[0].text}, evidence)
    evidence.insert(1, _idle(usable, steady, settings))
    # With too few steady ones the figure is UNSTABLE, and by all that there are.
    counted = steady if len(steady) >= settings.least_repeats else usable
    busy_w, net_w = median(r.busy_w for r in counted), median(r.net_w for r in counted)
    head |= {
        "rate_hz": median(r.rate_hz for r in counted),
        "idle_mw": median(r.idle_w for r in counted) * _MJ,
        "busy_mw": busy_w * _MJ,
        "runs": sum(r.runs for r in counted),
    }
    net_j, half_j = median(r.net_j for r in counted), _half_width_j(counted, settings, traits)
    resolved = _resolution(counted, net_w, net_j - half_j, settings, traits)
    evidence.insert(2, resolved)
    if not resolved.passed:
        return Figure(head | {"verdict": "BELOW_RESOLUTION", "message": resolved.text}, evidence)
    nets = [r.net_j for r in counted]
    spread = (max(nets) - min(nets)) / net_j
    evidence.insert(3, _spread(spread, settings))
    broken = failed(evidence)
    figure = {
        "verdict": "UNSTABLE" if broken else "TRUSTED",
        "message": "; ".join(each.text for each in broken),
        "net_mj": net_j * _MJ,
        "low_mj": (net_j - half_j) * _MJ,
        "high_mj": (net_j + half_j) * _MJ,
        "gross_mj": median(r.gross_j for r in counted) * _MJ,
        "repeats_mj": [value * _MJ for value in nets],
    }
    return Figure(head | figure, evidence)


def _half_width_j(counted: Sequence[Repeat], settings: EnergySettings, traits: Traits) -> float:
    """Half the width of the interval of one inference's energy beyond idle, in J.

    What differs from repeat to repeat (noise, drift, borders between two readings) is in their spread: Student's
    t for so few, widened for a median. What is the same in all of them, the meter's steps, is not, and is added
    as two independent errors are. Calibration is in neither: it is one factor for all figures of a meter.
    """
    n = len(counted)
    per_w = median(r.busy_s / r.runs for r in counted)
    common_j = NormalDist().inv_cdf((1 + settings.confidence) / 2) * _common_w(counted, traits) * per_w
    if n == 1:
        scatter_j = two_sided(settings.confidence, _BLOCK_FREEDOM) * counted[0].noise_w * per_w
    else:
        widen = _MEDIAN if n > 2 else 1.0
        spread_j = stdev(r.net_j for r in counted)
        scatter_j = two_sided(settings.confidence, n - 1) * widen * spread_j / math.sqrt(n)
    return math.hypot(scatter_j, common_j)


def _common_w(counted: Sequence[Repeat], traits: Traits) -> float:
    """Standard error of the power beyond idle, by the meter's steps, in W.

    A step hides a value evenly within itself (variance 1/12): once in the busy and twice in the idle power, and
    in both readings at the ends of a counter's stretch.
    """
    last = counted[-1]
    if traits.kind == COUNTER:
        stretches = math.hypot(1 / last.busy_s, math.sqrt(0.5) / last.idle_s)
        return traits.resolution * math.sqrt(1 / 6) * stretches
    return traits.resolution * math.sqrt(1 / 12 + 1 / 24)


def _noise_w(counted: Sequence[Repeat]) -> float:
    """Noise of one repeat's power beyond idle, in W: by the scatter inside its stretches, or between repeats.

    Idle powers that go up and down from repeat to repeat, drift apart, are noise too.
    """
    inside = sum(r.noise_w**2 for r in counted) / len(counted)
    if len(counted) == 1:
        return math.sqrt(inside)
    between = variance(r.net_w for r in counted)
    wander = variance(r.after_w - r.before_w for r in counted) / 4
    return math.sqrt(max(inside, between) + wander)


def _resolution(
    counted: Sequence[Repeat], net_w: float, low_j: float, settings: EnergySettings, traits: Traits
) -> Evidence:
    noise_w = math.hypot(_noise_w(counted), _common_w(counted, traits))
    snr = net_w / noise_w if noise_w > 0 else math.copysign(math.inf, net_w)
    text = f"{net_w * _MJ:.3g} mW beyond idle, with a noise of {noise_w * _MJ:.2g} mW"
    remedy = "lengthen busy_ms, or take a finer meter"
    found = at_least(
        "energy-resolution",
        max(-_NO_NOISE, min(snr, _NO_NOISE)),
        settings.min_snr,
        f"below resolution: {text}",
        remedy,
    )
    if found.passed and low_j <= 0:
        text = "below resolution: the repeats differ by more than the energy of an inference"
        return Evidence("energy-resolution", False, f"{text}: {remedy}", found.value, settings.min_snr)
    return found if not found.passed else Evidence("energy-resolution", True, text, found.value, found.limit)


def _gaps(repeats: Sequence[Repeat], usable: Sequence[Repeat], settings: EnergySettings) -> Evidence:
    enough = len(usable) >= settings.least_repeats
    worst = max((r.unseen for r in (usable or repeats)), default=1.0)
    text = f"{len(usable)} of {len(repeats)} repeats have the readings that they need"
    reasons = Counter(r.problem for r in repeats if r.problem)
    if reasons:
        text += f"; left out: {'; '.join(reasons)}"
    if not enough:
        text += ": see that the meter is read without a break and the device runs on what is measured"
    return Evidence("energy-gaps", enough, text, worst, MOST_UNSEEN)


def _idle(usable: Sequence[Repeat], steady: Sequence[Repeat], settings: EnergySettings) -> Evidence:
    worst = max(r.idle_change for r in usable)
    text = f"idle powers before and after differ by {worst:.1%} at most"
    if len(steady) < len(usable):
        text += f", so {len(usable) - len(steady)} of {len(usable)} repeats are left out"
    # Where too few are usable in the first place, that is told by itself.
    enough = len(steady) >= min(settings.least_repeats, len(usable))
    if not enough:
        text += ": end other work on the device, let it cool, or raise max_idle_change"
    return Evidence("energy-idle", enough, text, worst, settings.max_idle_change)


def _spread(spread: float, settings: EnergySettings) -> Evidence:
    text = f"the repeats are {spread:.1%} of their median apart, at most {settings.max_spread:.1%} allowed"
    remedy = "lengthen busy_ms, or see that nothing else runs"
    return at_most("energy-spread", spread, settings.max_spread, text, remedy)
