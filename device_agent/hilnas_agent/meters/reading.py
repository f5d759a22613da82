"""What drivers share: a reading with the time it was taken at, and numbers out of small files."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hilnas_agent.meters import MeterError, Reading


class Polled:
    """The rest of a meter that is a thing to be asked: nothing to open, nothing to close, a try tells of a problem."""

    def problem(self) -> str | None:
        """Why it cannot be read now, in the words of a reading that failed."""
        try:
            self.read()
        except MeterError as error:
            return str(error)
        return None

    def read(self) -> Sequence[Reading]:
        """What it says now; each meter's own."""
        raise MeterError(f"{type(self).__name__} cannot be asked")

    def open(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def timed(take: Callable[[], float]) -> Reading:
    """A reading, dated to the middle of the time that it took, and off by half of that at most."""
    before = time.monotonic_ns()
    value = take()
    after = time.monotonic_ns()
    return Reading((before + after) // 2, value, (after - before + 1) // 2)


def text(path: Path) -> str:
    """Content of a small file, without the white space around it; empty when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def number(path: Path) -> int:
    """The whole number in a file; MeterError when it cannot be read or is none."""
    try:
        content = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise MeterError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return int(content)
    except ValueError:
        raise MeterError(f"{path} holds {content[:40]!r}, no whole number") from None
