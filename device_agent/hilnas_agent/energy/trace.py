"""Readings of a meter as a function of time: power of a window, and how much of it was seen."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hilnas_agent.meters import COUNTER, MeterError, Reading, Traits

_NS = 1e-9
_LATE = 3.0
"""An interval of so many usual ones is a gap."""
_VAGUE, _HARMLESS = 4.0, 0.1
"""A reading dated so many times as vaguely as usual is left out, if by more than that share of an interval."""


class Trace:
    """Energy over time by a meter's readings, in their order; MeterError for a counter that runs backwards.

    A counter's energy is the difference of its readings, its wraps made up for; that of a power meter is the
    area under straight lines between its readings. A reading that took far longer than usual is left out:
    what it says is a gap, not a doubt about the others' dates.
    """

    def __init__(self, readings: Sequence[Reading], traits: Traits) -> None:
        clocks, values, within = zip(*readings, strict=True) if readings else ((), (), ())
        clock = np.array(clocks, np.int64)
        # Two clocks may order two readings differently; what counts is when each was taken.
        order = np.argsort(clock, kind="stable")
        fresh = order[np.concatenate(([True], np.diff(clock[order]) > 0))] if len(clock) else order
        vague = np.array(within, np.int64)[fresh]
        fresh = fresh[vague <= _most_vague(vague, clock[fresh])]
        self.clock_ns: NDArray[np.int64] = clock[fresh]
        self._values = np.array(values, np.float64)[fresh]
        self.within_ns = max((within[place] for place in fresh), default=0)
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
        """Readings that lie in a window for sure."""
        low, high = self._inside(begin_ns, end_ns)
        return max(0, high - low)

    def watts(self, begin_ns: int, end_ns: int) -> float:
        """Mean power of a window in which power is even, in W, by the readings that lie in it for sure.

        Not by interpolation at the borders: power jumps there, so a straight line across would give a third of
        the time between two readings to the wrong side, always to the same one. 0 for under two readings.
        """
        low, high = self._inside(begin_ns, end_ns)
        return self._mean(int(self.clock_ns[low]), int(self.clock_ns[high - 1])) if high - low > 1 else 0.0

    def noise_w(self, begin_ns: int, end_ns: int, blocks: int = 8) -> float:
        """Standard error of the mean power of a window in which nothing changes but by a straight drift, in W.

        By the means of its blocks, so that readings that resemble their neighbours do not count in full.
        """
        low, high = self._inside(begin_ns, end_ns)
        blocks = min(blocks, (high - low) // 2)
        if blocks < 3:
            return 0.0
        edges = np.linspace(int(self.clock_ns[low]), int(self.clock_ns[high - 1]), blocks + 1)
        means = np.array([self._mean(first, last) for first, last in pairwise(edges)])
        place = np.arange(blocks) - (blocks - 1) / 2
        means = means - means.mean() - place * (place @ means) / (place @ place)
        return float(np.sqrt(means @ means / (blocks - 2) / blocks))

    def unseen(self, begin_ns: int, end_ns: int) -> float:
        """Share of a window of which the readings say nothing.

        That is gaps between a border and the next reading inside, and, of a power meter, between two readings;
        a counter forgets nothing.
        """
        low, high = self._inside(begin_ns, end_ns)
        if high - low < 2:
            return 1.0
        inner = self.clock_ns[low:high]
        gap_ns = _LATE * self._usual_ns + self.within_ns
        gaps = np.array([int(inner[0]) - begin_ns, end_ns - int(inner[-1])], np.int64)
        if self.kind != COUNTER:
            gaps = np.concatenate((gaps, np.diff(inner)))
        return float(np.sum(gaps[gaps > gap_ns]) / (end_ns - begin_ns))

    def _inside(self, begin_ns: int, end_ns: int) -> tuple[int, int]:
        """Places of the first reading in a window and of the first behind it."""
        ends = (begin_ns + self.within_ns, end_ns - self.within_ns)
        low, high = np.searchsorted(self.clock_ns, ends, side="left")
        return int(low), int(high)

    def _mean(self, begin_ns: float, end_ns: float) -> float:
        first, last = np.interp((begin_ns, end_ns), self.clock_ns, self._joules)
        return float(last - first) / ((end_ns - begin_ns) * _NS)


def _most_vague(within_ns: NDArray[np.int64], clock_ns: NDArray[np.int64]) -> float:
    """How vaguely a reading may be dated, in ns, to be of use among the others."""
    if len(clock_ns) < 2:
        return float("inf")
    usual_ns = float(np.median(np.diff(clock_ns)))
    return max(_VAGUE * float(np.median(within_ns)), _HARMLESS * usual_ns)


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
