"""A farm as one asker sees it."""

from hilnas.farm.devices import DeviceFacts
from hilnas.farm.farm import Farm
from hilnas.farm.jobs import Ask
from hilnas.farm.shares import Asker
from hilnas.trial import DeviceEnergy, DeviceOutputs, Measurement


class OnBehalf:
    """Everything that is asked here is asked for `asker`."""

    def __init__(self, farm: Farm, asker: Asker) -> None:
        self._farm, self._asker = farm, asker

    def connected(self) -> list[DeviceFacts]:
        """Return the devices that are there."""
        return self._farm.connected()

    def activity(self) -> dict[str, str]:
        """Return what each device is doing."""
        return self._farm.activity()

    async def measure(self, ask: Ask) -> Measurement:
        """Return one session of a stored model on a device."""
        return await self._farm.measure(ask, self._asker)

    async def evaluate(self, ask: Ask) -> DeviceOutputs:
        """Return what a stored model makes of stored examples on a device."""
        return await self._farm.evaluate(ask, self._asker)

    async def measure_energy(self, ask: Ask) -> DeviceEnergy:
        """Return what an energy pass of a stored model on a device came to."""
        return await self._farm.measure_energy(ask, self._asker)

    def quarantine(self, name: str, reason: str) -> None:
        """Say that a device is not what it was."""
        self._farm.quarantine(name, reason)
