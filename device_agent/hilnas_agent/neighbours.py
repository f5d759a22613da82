"""Other work on the device while a model is timed, by the kernel's counters of processor time."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)
"""idle and iowait in proc(5)'s fields of "cpu"; guest time (8, 9) is counted in user and nice already."""
_STOLEN = 8


@dataclass(frozen=True)
class Moment:
    """Counters at one moment, in ns: wall clock, this process's processor time, everybody's."""

    wall_ns: int
    own_ns: int
    all_ns: int | None


class Neighbours:
    """Tells how much other work there was in each stretch of time.

    The kernel counts in ticks of 10 ms, so a stretch should be ten of them, and two ticks are no evidence.
    A virtual machine's stolen time counts as other work: somebody else had the processor.
    """

    def __init__(self, limit: float, read: Callable[[], Moment] | None = None) -> None:
        self._limit, self._read = limit, read or moment
        self._last = self._read()
        self._stretches: list[tuple[int, int, bool]] = []

    @property
    def known(self) -> bool:
        """False where the kernel does not tell."""
        return self._last.all_ns is not None

    def begin(self) -> None:
        """Starts the first stretch."""
        self._last, self._stretches = self._read(), []

    def quiet(self) -> bool:
        """Ends a stretch, and starts the next: was this process alone, but for `limit` processors?"""
        last, self._last = self._last, self._read()
        wall_ns, others_ns = self._last.wall_ns - last.wall_ns, _others_ns(last, self._last)
        quiet = others_ns <= max(self._limit * wall_ns, 2 * _NS_PER_TICK)
        self._stretches.append((wall_ns, others_ns, quiet))
        return quiet

    def load(self, of_quiet: bool = False) -> float:
        """Mean processor time of other work since `begin`, in processors; `of_quiet`: in quiet stretches."""
        counted = [(wall, others) for wall, others, quiet in self._stretches if quiet or not of_quiet]
        wall_ns = sum(wall for wall, _ in counted)
        return sum(others for _, others in counted) / wall_ns if wall_ns > 0 else 0.0


def moment() -> Moment:
    """The counters now."""
    return Moment(time.perf_counter_ns(), time.process_time_ns(), _all_ns())


def _others_ns(first: Moment, last: Moment) -> int:
    if first.all_ns is None or last.all_ns is None:
        return 0
    return max(0, last.all_ns - first.all_ns - (last.own_ns - first.own_ns))


def _all_ns() -> int | None:
    """Processor time that the whole device has spent on anything, in ns; None when unreadable."""
    try:
        with _STAT.open("rb") as file:
            fields = file.readline().split()[1 : 1 + _STOLEN]
    except OSError:
        return None
    if len(fields) < _IDLE[1] + 1:
        return None
    return _NS_PER_TICK * sum(int(field) for place, field in enumerate(fields) if place not in _IDLE)
