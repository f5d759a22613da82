"""Is a device on this very machine measuring? Then the host holds its own work still."""

from collections.abc import Callable, Iterable
from pathlib import Path

from hilnas.farm.devices import Device


class Here:
    """Devices that share this machine's processors: those with its boot id."""

    def __init__(self) -> None:
        self._boot_id = _boot_id()
        self.measuring = False
        self.on_change: Callable[[bool], object] = lambda measuring: None
        """Told when one of them begins to measure, and when none does any more."""

    def has(self, device: Device) -> bool:
        """Is a device, which is connected, on this machine?"""
        return device.session is not None and device.session.boot_id == self._boot_id

    def look(self, devices: Iterable[Device]) -> None:
        """See which devices measure now."""
        measuring = any(device.measuring and self.has(device) for device in devices)
        if measuring != self.measuring:
            self.measuring = measuring
            self.on_change(measuring)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
