"""When a strategy learns: in whole groups, in the order of proposal, so that fast models do not crowd out slow ones.

Which trials it has seen before a proposal follows from trial numbers alone, and timing changes
nothing, as long as no trial is overdue. One that is, is passed over and learned from when it ends:
a straggler is neither waited for nor counted as bad.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import median

MIN_OVERDUE_S = 30.0
"""No trial is overdue before."""

Test = Callable[[int], bool]


class Window:
    """The trials proposed and not observed, oldest first: `in_flight` of them at most, besides overdue ones."""

    def __init__(self, in_flight: int, group: int) -> None:
        self.in_flight = in_flight
        self.group = group
        self._waiting: list[int] = []
        self._passed_over: list[int] = []

    @property
    def unobserved(self) -> list[int]:
        """Numbers of all trials proposed and not observed, in order."""
        return sorted(self._waiting + self._passed_over)

    def add(self, number: int) -> None:
        """Take the next trial proposed."""
        self._waiting.append(number)

    def remove(self, numbers: Iterable[int]) -> None:
        """Take out trials that were observed; what stands before one of them has been passed over."""
        observed = set(numbers)
        last = max((n for n in self._waiting if n in observed), default=-1)
        left = [n for n in self.unobserved if n not in observed]
        self._passed_over = [n for n in left if n < last or n not in self._waiting]
        self._waiting = [n for n in left if n not in self._passed_over]

    def next_group(self, is_final: Test, is_overdue: Test) -> list[int] | None:
        """Return what to observe before the next proposal: [] for nothing, None where that must be waited for."""
        room = len(self._waiting) + len(self._passed_over) < 2 * self.in_flight
        late = [n for n in self._passed_over if is_final(n)]
        if len(self._waiting) < self.in_flight:
            return [] if room else late or None
        on_time = [n for n in self._waiting if is_final(n) or not is_overdue(n)]
        head = on_time[: self.group]
        if len(head) == self.group and all(is_final(n) for n in head):
            return late + head
        return [] if room and len(on_time) < self.in_flight else None  # the overdue ones make room


def overdue_after_s(ended_s: Sequence[float], patience: float) -> float:
    """Return after how long a trial is overdue: `patience` times the median of those that ended, 30 s at least.

    Never, before five have ended.
    """
    return max(MIN_OVERDUE_S, patience * median(ended_s)) if len(ended_s) >= 5 else math.inf
