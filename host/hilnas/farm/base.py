"""What measuring needs of a farm, in this process or in another one."""

from typing import Protocol

from hilnas.errors import HilnasError
from hilnas.farm.devices import DeviceFacts
from hilnas.farm.jobs import Ask
from hilnas.trial import DeviceEnergy, DeviceOutputs, Measurement


class FarmError(HilnasError, RuntimeError):
    """The farm cannot do what is asked; the message says what is missing."""


class AnyFarm(Protocol):
    """Measures on devices. Faults of devices and links are tried again, elsewhere if that may be."""

    def connected(self) -> list[DeviceFacts]:
        """Return the devices that are there."""

    def activity(self) -> dict[str, str]:
        """Return what each device is doing: the job's model, or its state."""

    async def measure(self, ask: Ask) -> Measurement:
        """Return one session of a stored model on a device."""

    async def evaluate(self, ask: Ask) -> DeviceOutputs:
        """Return what a stored model makes of stored examples on a device."""

    async def measure_energy(self, ask: Ask) -> DeviceEnergy:
        """Return what an energy pass of a stored model on a device came to."""

    def quarantine(self, name: str, reason: str) -> None:
        """Say that a device is not what it was: it gets no more jobs, where that can be."""
