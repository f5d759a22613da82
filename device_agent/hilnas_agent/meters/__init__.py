"""Energy instruments: what a driver must offer, one file an instrument."""

from typing import NamedTuple, Protocol


class Power(NamedTuple):
    """One reading of an instrument."""

    clock_ns: int
    watts: float


class Meter(Protocol):
    """An energy instrument that this device can read.

    `name` is the driver's, `boundary` what the figure covers ("wall", "board", "soc" or "rail"),
    `rate_hz` the readings a second.
    """

    name: str
    boundary: str
    rate_hz: float

    def start(self) -> None:
        """Begins to record; OSError when the instrument cannot be read."""

    def stop(self) -> list[Power]:
        """Ends recording: the readings since `start`, oldest first, on the clock of `time.monotonic_ns`."""
