"""An instrument's own clock against this machine's."""

from collections.abc import Callable

_PINGS = 8


class Offset:
    """What to add to an instrument's time to get this machine's, by its quickest answer.

    An answer arrives some time after the question; what the instrument's clock showed lies between the two, so
    of several pairs the one with the shortest way there and back tells the most. `step_ns` is the step in which
    that clock is told: what it showed may be so much older.
    """

    def __init__(self, step_ns: int = 0) -> None:
        self._step_ns = step_ns
        self.offset_ns, self.within_ns = 0, -1

    def ping(self, before_ns: int, theirs_ns: int, after_ns: int) -> None:
        """Takes an answer that says `theirs_ns`, asked for at `before_ns` and here at `after_ns`."""
        within = (after_ns - before_ns + 1) // 2 + self._step_ns
        if self.within_ns < 0 or within <= self.within_ns:
            self.offset_ns, self.within_ns = (before_ns + after_ns) // 2 - theirs_ns, within

    def ours_ns(self, theirs_ns: int) -> int:
        """The moment on this machine's clock."""
        return theirs_ns + self.offset_ns


def compare(ask: Callable[[], tuple[int, int, int]], pings: int = _PINGS, step_ns: int = 0) -> Offset:
    """The offset by so many answers (before, theirs, after), each in ns."""
    offset = Offset(step_ns)
    for _ in range(pings):
        offset.ping(*ask())
    return offset
