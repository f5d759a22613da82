"""Two models side by side on one device: sessions in turns, and the ratio of their latencies."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

import numpy as np

from hilnas.farm import Ask, Fidelity
from hilnas.farm.protocol import CONFIDENCE
from hilnas.measuring.combine import RESAMPLES, broken_rules, combine
from hilnas.measuring.measurer import Measurer
from hilnas.trial import FIGURE_VERDICTS, Latency, Measurement

LEAST_PAIRS = 4
"""Pairs of sessions, at least: with three, one odd pair is a third of what is known."""


@dataclass(frozen=True)
class Comparison:
    """Two measurements and their ratio; without a figure for both there is none."""

    first: Measurement | None
    second: Measurement | None
    """None where it was not even begun, since the other one failed."""
    ratio: float | None = None
    """Latency of the second over that of the first: median over pairs of sessions."""
    low: float | None = None
    """Ends of the interval of the ratio."""
    high: float | None = None
    pairs: int = 0

    @property
    def differ(self) -> bool | None:
        """Does the interval leave out 1? None without a ratio."""
        if self.low is None or self.high is None:
            return None
        return not self.low <= 1 <= self.high


async def compare(
    measurer: Measurer,
    first: str,
    second: str,
    device_class: str,
    fidelity: Fidelity | None = None,
    device: str = "",
    taken: Callable[[Measurement], object] = lambda session: None,
) -> Comparison:
    """Return the comparison of two stored models, each session of one beside a session of the other.

    The order within pairs alternates, so a device that warms up or a neighbour that comes and goes
    favours neither. Pairs with a session that broke a rule are taken again, as often as the protocol says.
    """
    fidelity = fidelity or measurer.options.fidelity
    protocol = measurer.options.protocol(fidelity)
    wanted = max(LEAST_PAIRS, protocol.sampling.sessions)
    pairs: list[tuple[Measurement, Measurement]] = []
    spoilt: list[tuple[Measurement, Measurement]] = []
    for number in range(wanted * (1 + protocol.sampling.remeasures)):
        if len(pairs) == wanted:
            break
        pair: dict[int, Measurement] = {}
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            # Comparing a file with itself shows how small a difference can be told, so numbers differ by side.
            digest = (first, second)[side]
            ask = Ask(digest, device_class, measurer.options, fidelity, 2 * number + side, device)
            session = pair[side] = await measurer.farm.measure(ask)
            taken(session)
            if session.verdict not in FIGURE_VERDICTS:
                return Comparison(pair.get(0), pair.get(1))
            device = session.device
        both = (pair[0], pair[1])
        (spoilt if any(broken_rules(session) for session in both) else pairs).append(both)
    chosen = [*pairs, *spoilt[len(pairs) - wanted :]] if len(pairs) < wanted else pairs
    sides = [combine([both[side] for both in chosen], protocol) for side in (0, 1)]
    ratio, low, high = paired_ratio([(_figure(a), _figure(b)) for a, b in chosen])
    return Comparison(sides[0], sides[1], ratio, low, high, len(chosen))


def paired_ratio(pairs: Sequence[tuple[Latency, Latency]], seed: int = 0) -> tuple[float, float, float]:
    """Return the median ratio second / first over pairs of sessions, and its percentile bootstrap interval.

    Pairs are drawn, and within each the two medians from their own intervals.
    """
    logs = np.log([b.median_ms / a.median_ms for a, b in pairs])
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    errors = np.array(
        [math.hypot(*((f.high_ms - f.low_ms) / (2 * z) / f.median_ms for f in pair)) for pair in pairs]
    )
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(pairs), size=(RESAMPLES, len(pairs)))
    resampled = np.median(logs[drawn] + errors[drawn] * rng.standard_normal(drawn.shape), axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.exp(np.quantile(resampled, (tail, 1 - tail)))
    return float(np.exp(median(logs))), float(low), float(high)


def _figure(session: Measurement) -> Latency:
    assert session.latency is not None
    return session.latency
