"""How fast the processor is, by a fixed piece of work: what slows it where the kernel tells of no cause.

A virtual machine whose neighbour shares the core, a power limit, firmware that hides its throttling: none of
them shows in the kernel's counters or frequencies, and each makes a model slower for seconds on end. So a short
piece of work that never changes is timed at both ends of every slice of samples, and held against the least
that it ever took here.
"""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

_log = logging.getLogger(__name__)

TimeWork = Callable[[], int]
"""Does the work, and tells how long it took, in ns."""

_SIZE = 2048
_PASSES = 100
_TRIES = 3


class FixedWork:
    """Multiplications of integers that lie in the first-level cache: bound by the core alone, not by memory."""

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        import numpy as np

        self._clock, self._multiply = clock, np.multiply
        self._factors = np.arange(_SIZE, dtype=np.int32)
        self._products = self._factors.copy()

    def __call__(self) -> int:
        """The shortest of a few tries: an interruption is not a slow core."""
        return min(self._once() for _ in range(_TRIES))

    def _once(self) -> int:
        start = self._clock()
        for _ in range(_PASSES):
            self._multiply(self._factors, self._factors, out=self._products)
        return self._clock() - start


class Speed:
    """Tells for each slice of time whether the processor was as fast as it can be.

    `known_ns` is the least that the work took before, 0 when that is not known; `limit` the share by which it may
    take longer, 0 for no look at all.
    """

    def __init__(self, limit: float, known_ns: int, work: TimeWork) -> None:
        self._limit, self._work = limit, work
        self._known_ns = known_ns
        self._ends: list[int] = []
        self._full: list[bool] = []

    @property
    def best_ns(self) -> int:
        """The least that the work took at both ends of a slice, now or before; 0 when nothing is known."""
        known = [self._known_ns] if self._known_ns else []
        return min([*known, *map(max, self._ends, self._ends[1:])], default=0)

    def begin(self) -> None:
        """Starts the first slice."""
        self._ends, self._full = [self._work()] if self._limit else [], []

    def is_full(self) -> bool:
        """Ends a slice, and starts the next: was the processor fast at both its ends?"""
        if not self._limit:
            return True
        self._ends.append(self._work())
        self._full.append(max(self._ends[-2:]) <= self.best_ns * (1 + self._limit))
        return self._full[-1]

    def slowdown(self, of_full: bool = False) -> float | None:
        """How much longer the work took at worst, as a share of the least; `of_full`: in full slices.

        None where nothing was looked at.
        """
        slices = list(map(max, self._ends, self._ends[1:]))
        counted = [took for took, full in zip(slices, self._full, strict=True) if full or not of_full]
        return max(counted) / self.best_ns - 1 if counted and self.best_ns else None


class KnownSpeed:
    """The least time of the fixed work on the processors that measure, in ns.

    The second least of all sessions', once there are two: a model runs in the memory of what times it, so one
    session may say anything. Kept in `path` over restarts of the agent, until the device boots.
    """

    def __init__(self, path: Path | None = None, boot_id: str = "") -> None:
        self._path, self._of = path, boot_id
        self._least = self._stored()

    @property
    def best_ns(self) -> int:
        """What a session is held against; 0 when nothing is known."""
        return self._least[-1] if self._least else 0

    def note(self, best_ns: int) -> None:
        """Takes up what a session found; 0 is nothing."""
        least = sorted([*self._least, best_ns])[:2] if best_ns > 0 else self._least
        if least == self._least:
            return
        self._least = least
        if self._path is None:
            return
        try:
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps([self._of, least]), encoding="ascii")
            fresh.replace(self._path)
        except OSError as error:
            _log.warning("cannot keep the processor's best speed in %s: %s", self._path, error.strerror)

    def _stored(self) -> list[int]:
        try:
            of, least = json.loads(self._path.read_text(encoding="ascii")) if self._path else (None, [])
            sound = of == self._of and all(isinstance(each, int) and each > 0 for each in least)
            return sorted(least)[:2] if sound else []
        except (OSError, ValueError, TypeError):
            return []
