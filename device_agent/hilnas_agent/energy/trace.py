"""Readings of a meter as a function of time: energy of a window, and how much of it was seen."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas_agent.meters import COUNTER, MeterError, Reading, Traits

_NS = 1e-9
_LATE = 3.0
"""An interval of so many usual ones is a gap."""


class Trace:
    """Energy over time by a meter's readings, in their order; MeterError for a counter that runs backwards.

    A counter's energy is the difference of its readings, its wraps made up for; that of a power meter is the
    area under straight lines between its readings. Between two readings both go on evenly.
    """

    def __init__(self, readings: Sequence[Reading], traits: Traits) -> None:
        # Two clocks may order two readings differently; what counts is when each was taken.
        ordered = sorted(readings)
        clock = np.array([reading.clock_ns for reading in ordered], np.int64)
        fresh = np.concatenate(([True], np.diff(clock) > 0)) if len(clock) else np.zeros(0, bool)
        self.clock_ns: NDArray[np.int64] = clock[fresh]
        self._values = np.array([reading.value for reading in ordered], np.float64)[fresh]
        self.within_ns = max((reading.within_ns for reading in ordered), default=0)
        self.kind = traits.kind
        steps_s = np.diff(self.clock_ns) * _NS
        if self.kind == COUNTER:
            steps_j = _unwrapped(np.diff(self._values), traits)
        else:
            steps_j = (self._values[1:] + self._values[:-1]) / 2 * steps_s
        self._joules = np.concatenate(([0.0], np.cumsum(steps_j))) if len(clock) else np.zeros(0)
        self._usual_ns = float(np.median(np.diff(self.clock_ns))) if len(self.clock_ns) > 1 else 0.0

    def __len__(self) -> int:
        return len(self.clock_ns)

    @property
    def rate_hz(self) -> float:
        """Readings a second; 0 where there are too few to tell."""
        span = (int(self.clock_ns[-1]) - int(self.clock_ns[0])) * _NS if len(self) > 1 else 0.0
        return (len(self) - 1) / span if span > 0 else 0.0

    def count(self, begin_ns: int, end_ns: int) -> int:
        """Readings in a window."""
        low, high = np.searchsorted(self.clock_ns, (begin_ns, end_ns), side="left")
        return int(high - low)

    def joules(self, begin_ns: float, end_ns: float) -> float:
        """Energy of a window, in J; what lies outside of the readings counts as nothing: see `unseen`."""
        return self._until(end_ns) - self._until(begin_ns)

    def watts(self, begin_ns: float, end_ns: float) -> float:
        """Mean power of a window, in W."""
        return self.joules(begin_ns, end_ns) / ((end_ns - begin_ns) * _NS)

    def noise_w(self, begin_ns: int, end_ns: int, blocks: int = 8) -> float:
        """Standard error of the mean power of a window in which nothing changes but by a straight drift, in W.

        By the means of its blocks, so that readings that resemble their neighbours do not count in full.
        """
        blocks = min(blocks, self.count(begin_ns, end_ns) // 2)
        if blocks < 3:
            return 0.0
        edges = np.linspace(begin_ns, end_ns, blocks + 1)
        means = np.array([self.watts(low, high) for low, high in pairwise(edges)])
        place = np.arange(blocks) - (blocks - 1) / 2
        means = means - means.mean() - place * (place @ means) / (place @ place)
        return float(np.sqrt(means @ means / (blocks - 2) / blocks))

    def unseen(self, begin_ns: int, end_ns: int) -> float:
        """Share of a window of which the readings say nothing.

        That is what lies before the first and after the last of them, and in gaps: all of a gap of a power
        meter; of a counter, which forgets nothing, only one across a border, where it cannot tell what belongs to
        which side.
        """
        if len(self) < 2:
            return 1.0
        gap_ns = _LATE * self._usual_ns
        low, high = self.clock_ns[:-1], self.clock_ns[1:]
        gaps = high - low > gap_ns
        if self.kind == COUNTER:
            gaps &= ((low < begin_ns) & (high > begin_ns)) | ((low < end_ns) & (high > end_ns))
        inside = np.minimum(high, end_ns) - np.maximum(low, begin_ns)
        lost: Any = np.sum(np.maximum(inside, 0)[gaps])
        lost += max(0, min(int(self.clock_ns[0]), end_ns) - begin_ns)
        lost += max(0, end_ns - max(int(self.clock_ns[-1]), begin_ns))
        return float(min(1.0, lost / (end_ns - begin_ns)))

    def _until(self, moment_ns: float) -> float:
        return float(np.interp(moment_ns, self.clock_ns, self._joules)) if len(self) else 0.0


def _unwrapped(steps_j: NDArray[np.float64], traits: Traits) -> NDArray[np.float64]:
    """Differences of a counter, with what it lost at each return to zero."""
    # A wrap falls from nearly the highest value to nearly zero; a smaller fall is none.
    if traits.wraps_at_j > 0:
        steps_j = np.where(steps_j < -traits.wraps_at_j / 2, steps_j + traits.wraps_at_j, steps_j)
    if len(steps_j) and float(steps_j.min()) < 0:
        raise MeterError(
            f"the counter of {traits.name} fell by {-float(steps_j.min()):.3g} J: it was reset meanwhile"
        )
    return steps_j
