"""The battery of a laptop or a tablet, by the kernel's power_supply: its gauge, coarse, while it discharges.

Source: Documentation/ABI/testing/sysfs-class-power: µW, µV and µA. Whether a discharging current has a minus
is up to the gauge, so its size is taken; that it discharges is what `status` says.
"""

from collections.abc import Sequence
from pathlib import Path

from hilnas_agent.meters import POWER, Meter, MeterError, Reading, Traits
from hilnas_agent.meters.reading import Polled, number, text, timed

_RATE_HZ = 1.0


class Battery:
    """The driver: a meter for each battery that powers the device."""

    name = "battery"

    def find(self, argument: str, root: Path) -> Sequence[Meter]:
        """The batteries that the kernel shows; `argument` has no meaning here."""
        folders = sorted(root.glob("sys/class/power_supply/*"))
        # "Device" is the battery of something attached, such as a mouse.
        return [
            Cell(folder)
            for folder in folders
            if text(folder / "type") == "Battery"
            and text(folder / "scope") != "Device"
            and text(folder / "present") != "0"
        ]


class Cell(Polled):
    """One battery."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.traits = Traits(f"battery:{folder.name}", "board", POWER, _RATE_HZ, coarse=True)

    def read(self) -> Sequence[Reading]:
        """Power that it gives now, in W."""
        return [timed(self._watts)]

    def _watts(self) -> float:
        status = text(self._folder / "status")
        if status != "Discharging":
            raise MeterError(
                f"{self.traits.name} is {status.lower() or 'in an unknown state'}, so it is not all that powers the device: "
                "unplug the charger while energy is measured"
            )
        if (self._folder / "power_now").exists():
            return abs(number(self._folder / "power_now")) * 1e-6
        if not (self._folder / "current_now").exists():
            raise MeterError(f"{self.traits.name} tells neither power nor current: take another meter")
        volts = number(self._folder / "voltage_now") * 1e-6
        return abs(number(self._folder / "current_now")) * 1e-6 * volts
