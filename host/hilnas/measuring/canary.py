"""The canary: a fixed model that is measured again and again, so that a device that changes is noticed.

Its latency on a device over that on the first device of the class makes boards of one class comparable; its
drift on one device tells that what was measured since is in doubt.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from statistics import median

from hilnas.farm.protocol import CanaryOptions
from hilnas.trial import CanaryReading, Measurement, Verdict


def canary_model() -> bytes:
    """Return the reference model: 9.2 million multiply-accumulates in the layers that searches sample, 50 KiB.

    It never changes, so figures of different versions and years compare by it.
    """
    return (files("hilnas.measuring") / "canary.tflite").read_bytes()


@dataclass
class _Known:
    """A device as its canaries show it."""

    device_class: str
    medians: list[float] = field(default_factory=list)
    """Of TRUSTED readings, in ms."""
    read_at: float | None = None
    block: list[str] = field(default_factory=list)
    """Models measured since the last reading that was steady."""
    far_off: int = 0
    """Readings in a row that were far off."""
    unsure: int = 0
    off: CanaryReading | None = None
    """The last reading that was not unsure, where it was off."""


class Canaries:
    """Which devices are due for a canary, and what their readings say. No I/O; `clock` is monotonic, in s."""

    def __init__(self, options: CanaryOptions, clock: Callable[[], float]) -> None:
        self._options, self._clock = options, clock
        self._devices: dict[str, _Known] = {}
        self._first_of_class: dict[str, str] = {}

    def restore(self, readings: Iterable[CanaryReading]) -> None:
        """Take up readings of earlier sessions: references stay what they were, blocks begin anew."""
        for reading in readings:
            known = self._known(reading.device, reading.device_class)
            if reading.state == "steady" and reading.median_ms is not None:
                known.medians.append(reading.median_ms)
                self._first_of_class.setdefault(reading.device_class, reading.device)
            if reading.state != "unsure":
                self._note(known, reading)

    def is_due(self, device: str) -> bool:
        """Must a device read its canary before its next figure counts?"""
        if not self._options.every:
            return False
        known = self._devices.get(device)
        if known is None or known.read_at is None:
            return True
        # An unsure reading says nothing; asking again at once would not either. Without any that did, figures of
        # this device compare with no other's, so it is asked sooner.
        waited = self._clock() - known.read_at >= self._options.every_minutes * 60
        patience = self._options.every * (1 + known.unsure) if known.medians else 2 * known.unsure
        return waited or len(known.block) >= patience

    def measured(self, device: str, model_sha256: str) -> None:
        """Note that a device has measured a model."""
        known = self._devices.get(device)
        if known is not None:
            known.block.append(model_sha256)

    def read(self, canary: Measurement) -> CanaryReading:
        """Take a canary's measurement and return what it says of its device."""
        known = self._known(canary.device, canary.device_class)
        known.read_at = self._clock()
        if canary.verdict is not Verdict.TRUSTED or canary.latency is None:
            known.unsure += 1
            return CanaryReading(
                canary.device, canary.device_class, canary.verdict, state="unsure", message=canary.message
            )
        value, known.unsure = canary.latency.median_ms, 0
        drift = value / known.medians[0] - 1 if known.medians else 0.0
        options = self._options
        doubtful: tuple[str, ...] = ()
        if abs(drift) <= options.max_drift:
            state, message, known.block = "steady", "", []
            known.medians.append(value)
            self._first_of_class.setdefault(canary.device_class, canary.device)
        else:
            far = abs(drift) > options.quarantine_drift
            state = "quarantine" if far and known.far_off >= 1 else "drifting"
            doubtful = tuple(dict.fromkeys(known.block))
            message = (
                f"the reference model takes {value:.4g} ms on {canary.device}, {drift:+.1%} against "
                f"{known.medians[0]:.4g} ms at first; at most {options.max_drift:.1%} allowed: look at its "
                "cooling, its power supply and what else runs there"
            )
        reading = CanaryReading(
            canary.device, canary.device_class, canary.verdict, value, drift, self.factor(canary.device),
            state, doubtful, message,
        )  # fmt: skip
        self._note(known, reading)
        return reading

    def off(self, device: str) -> CanaryReading | None:
        """Return the last reading of a device where it was off; None for one that is steady, or not known."""
        known = self._devices.get(device)
        return known.off if known is not None else None

    def _note(self, known: _Known, reading: CanaryReading) -> None:
        known.off = None if reading.state == "steady" else reading
        far = abs(reading.drift or 0.0) > self._options.quarantine_drift
        known.far_off = 0 if known.off is None else known.far_off + far

    def begin_block(self, device: str) -> None:
        """Forget what was in doubt: it has been told, and counts from here on."""
        self._devices[device].block = []

    def factor(self, device: str) -> float | None:
        """Return how slow a device is beside the first of its class; None before both have readings."""
        known = self._devices.get(device)
        if known is None or not known.medians:
            return None
        first = self._devices[self._first_of_class[known.device_class]]
        return median(known.medians) / median(first.medians)

    def _known(self, device: str, device_class: str) -> _Known:
        return self._devices.setdefault(device, _Known(device_class))
