"""RAPL: energy counters of Intel and AMD processors, through the kernel's powercap.

Source: Documentation/power/powercap/powercap.rst; `energy_uj` counts µJ up to `max_energy_range_uj` and
starts again at zero. The counters move about once a millisecond.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from hilnas_agent.meters import COUNTER, Meter, MeterError, Reading, Traits
from hilnas_agent.meters.reading import Polled, number, text, timed

_UJ = 1e-6
_STEPS = 0xFFFFFFFF
_RATE_HZ = 100.0
_BOUNDARIES = {"package": "soc", "psys": "board"}
"""The whole processor; the platform. Anything else (core, uncore, dram) is one rail of several."""


class Rapl:
    """The driver: a meter for each zone, the packages first."""

    name = "rapl"

    def find(self, argument: str, root: Path) -> Sequence[Meter]:
        """The zones that powercap shows; `argument` has no meaning here."""
        zones = [Zone(folder) for folder in sorted(root.glob("sys/class/powercap/intel-rapl*:*"))]
        # intel-rapl-mmio shows the package a second time, under the same name.
        first = {zone.traits.name: zone for zone in reversed(zones) if zone.traits.wraps_at_j > 0}
        return sorted(first.values(), key=lambda zone: (_rank(zone.traits), zone.traits.name))


class Zone(Polled):
    """One zone's counter."""

    def __init__(self, folder: Path) -> None:
        label = text(folder / "name") or folder.name
        parent = text(folder.parent / folder.name.rpartition(":")[0] / "name")
        place = f"{parent}:{label}" if folder.name.count(":") > 1 and parent else label
        range_uj = text(folder / "max_energy_range_uj")
        highest_j = int(range_uj) * _UJ if range_uj.isdigit() else 0.0
        # The register below has 32 bits, so its highest value tells the step in which it counts.
        step_j = highest_j / _STEPS
        self._file = folder / "energy_uj"
        self.traits = Traits(
            name=f"rapl:{place}",
            boundary=_BOUNDARIES.get(label.partition("-")[0], "rails"),
            kind=COUNTER,
            rate_hz=_RATE_HZ,
            resolution=step_j,
            # What follows the highest value is zero, one step further.
            wraps_at_j=highest_j + step_j,
        )

    def problem(self) -> str | None:
        """Why its counter cannot be read: as a rule, it is readable for root alone."""
        if not os.access(self._file, os.R_OK):
            return (
                f"{self.traits.name}: {self._file} may not be read: give the agent's user a group that may "
                "(a udev rule, see deploy/README.md, Energy)"
            )
        try:
            number(self._file)
        except MeterError as error:
            return f"{self.traits.name}: {error}"
        return None

    def read(self) -> Sequence[Reading]:
        """The counter now, in J."""
        return [timed(lambda: number(self._file) * _UJ)]


def _rank(traits: Traits) -> int:
    return ("soc", "board", "rails").index(traits.boundary)
