"""How often something may happen."""

import time
from collections import OrderedDict
from collections.abc import Callable


class Allowance:
    """So many at once, and so many a second on average."""

    def __init__(self, most: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._per_second, self._clock = most, per_second, clock
        self._left, self._at = most, clock()

    def take(self) -> bool:
        """Use one up; False when there is none."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Undo one `take`."""
        self._left = min(self._most, self._left + 1)


class Allowances:
    """One allowance for each of many, such as addresses; those not seen for long are forgotten."""

    def __init__(
        self, most: float, per_second: float, clock: Callable[[], float] = time.monotonic, kept: int = 10_000
    ) -> None:
        self._most, self._per_second, self._clock = most, per_second, clock
        self._kept = kept
        self._each: OrderedDict[str, Allowance] = OrderedDict()

    def of(self, who: str) -> Allowance:
        """Return somebody's allowance."""
        allowance = self._each.get(who)
        if allowance is None:
            allowance = self._each[who] = Allowance(self._most, self._per_second, self._clock)
            if len(self._each) > self._kept:
                self._each.popitem(last=False)
        self._each.move_to_end(who)
        return allowance
