"""A farm's book in the database of a lab."""

from hilnas.farm.book import DeviceEvent, KeptDevice
from hilnas.store.lab import Kept
from hilnas.store.record import Record


class LabBook:
    """Devices and their history are written soon, fencing tokens at once. StoreError where the database fails."""

    def __init__(self, record: Record) -> None:
        self._kept = Kept(record, KeptDevice)

    def close(self) -> None:
        """Write what is left."""
        self._kept.close()

    def devices(self) -> list[KeptDevice]:
        """Return every device that was kept."""
        return self._kept.devices()

    def keep(self, device: KeptDevice) -> None:
        """Keep a device as it is now."""
        self._kept.keep(device)

    def note(self, name: str, kind: str, text: str) -> None:
        """Add an event to a device's history."""
        self._kept.note(name, kind, text)

    def history(self, name: str, limit: int) -> list[DeviceEvent]:
        """Return a device's last events, the newest first."""
        return [DeviceEvent(*event) for event in self._kept.events(name, limit)]

    def fences(self, count: int) -> int:
        """Return the first of `count` fencing tokens that were never given before."""
        return self._kept.fences(count)
