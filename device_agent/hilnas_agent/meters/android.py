"""A phone's power: its battery's gauge, and the rails of a Pixel's ODPM, seen from a hub over adb or on the phone.

How the phone is reached is a callable that runs a shell command there and returns what it printed (see
meters.shell), so both work over adb and in Termux.

ODPM (On Device Power Monitor, Pixel 6 and later): /sys/bus/iio/devices/iio:device*/energy_value holds the phone's
time in ms, then for each rail the energy since the boot in µWs:
    t=358356
    CH0(T=358356)[S1M_VDD_CPUCL2], 761330
"""

import re
import time
from collections.abc import Sequence
from pathlib import Path

from hilnas_agent.meters import COUNTER, POWER, Meter, MeterError, Reading, Traits
from hilnas_agent.meters.own_clock import Offset, compare
from hilnas_agent.meters.reading import Polled, timed
from hilnas_agent.meters.shell import Shell, reach

_UWS = 1e-6
_ODPM = "/sys/bus/iio/devices/iio:device*/energy_value"
_ODPM_HZ, _BATTERY_HZ = 5.0, 1.0
_TIME = re.compile(r"^t=(\d+)\s*$", re.MULTILINE)
_RAIL = re.compile(r"^CH\d+(?:\(T=\d+\))?\[(\w+)\],\s*(\d+)\s*$", re.MULTILINE)
_SUPPLY = "/sys/class/power_supply/battery"
_BATTERY = f"cd {_SUPPLY} && cat status current_now voltage_now"
_LEAST_UA = 10_000


class Odpm:
    """The driver of a phone's rails: "android-odpm=SERIAL", or without a serial on the phone itself."""

    name = "android-odpm"

    def find(self, argument: str, root: Path) -> Sequence[Meter]:
        """The phone's ODPM, where it has one; `argument` is its adb serial number."""
        shell = reach(argument, root)
        if shell is None:
            return []
        rails = Rails(shell)
        try:
            rails.read()
        except MeterError:
            if argument:
                raise
            return []
        return [rails]


_STEP_NS = 1_000_000
"""A phone dates its rails in whole ms."""


class Rails:
    """The sum of all rails: energy since the boot, on the phone's own clock."""

    traits = Traits("android-odpm", "rails", COUNTER, _ODPM_HZ, _UWS)

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._offset = Offset(_STEP_NS)

    def problem(self) -> str | None:
        """Why the rails cannot be read; as a rule the phone has none, or does not let the shell read them."""
        try:
            self.read()
        except MeterError as error:
            return str(error)
        return None

    def open(self) -> None:
        """Finds out how far the phone's clock is from this machine's."""
        self._offset = compare(self._ping, step_ns=_STEP_NS)

    def read(self) -> Sequence[Reading]:
        """Energy of all rails, in J, at the moment that the phone read them."""
        before = time.monotonic_ns()
        theirs_ns, joules = rails(self._shell(f"cat {_ODPM}"))
        after = time.monotonic_ns()
        self._offset.ping(before, theirs_ns, after)
        return [Reading(self._offset.ours_ns(theirs_ns), joules, self._offset.within_ns)]

    def close(self) -> None:
        """Does nothing."""

    def _ping(self) -> tuple[int, int, int]:
        before = time.monotonic_ns()
        theirs_ns, _ = rails(self._shell(f"cat {_ODPM}"))
        return before, theirs_ns, time.monotonic_ns()


class AndroidBattery:
    """The driver of a phone's battery: "android-battery=SERIAL", or "android-battery=SERIAL,mA"."""

    name = "android-battery"

    def find(self, argument: str, root: Path) -> Sequence[Meter]:
        """The phone's gauge; the argument is its adb serial number, and the unit where its maker uses mA."""
        serial, comma, unit = argument.partition(",")
        if comma and unit not in ("mA", "uA"):
            raise MeterError(f"android-battery={argument}: the unit is mA or uA")
        shell = reach(serial, root)
        return [Gauge(shell, unit)] if shell is not None else []


class Gauge(Polled):
    """A phone's gauge; coarse."""

    traits = Traits("android-battery", "board", POWER, _BATTERY_HZ, coarse=True)

    def __init__(self, shell: Shell, unit: str = "") -> None:
        self._shell, self._unit = shell, unit

    def read(self) -> Sequence[Reading]:
        """Power that the battery gives now, in W."""
        return [timed(lambda: battery_watts(self._shell(_BATTERY), self._unit))]


def rails(content: str) -> tuple[int, float]:
    """(The phone's time in ns, energy of all rails in J) of energy_value; MeterError when it is torn or empty.

    A phone with two chips gives two such lists, one after the other.
    """
    times, found = _TIME.findall(content), _RAIL.findall(content)
    if not times or not found:
        raise MeterError(
            f"android-odpm: no rail in {' '.join(content.split())[:80]!r}: the phone has no ODPM"
        )
    lines = sum(line.startswith("CH") for line in content.splitlines())
    if lines != len(found):
        raise MeterError("android-odpm: a rail's line is torn")
    # One chip is read right after the other.
    return int(times[-1]) * 1_000_000, sum(int(value) for _, value in found) * _UWS


def battery_watts(content: str, unit: str = "") -> float:
    """Power in W of "status, current, voltage", a line each; MeterError while the battery charges.

    The sign of the current is the maker's own, so its size is taken. Some makers give mA where µA are due: a current
    that may be either is refused until the unit is given.
    """
    lines = content.split("\n")
    status = lines[0].strip() if lines else ""
    numbers = [line.strip() for line in lines[1:3]]
    if len(numbers) != 2 or not all(re.fullmatch(r"-?\d+", text) for text in numbers):
        raise MeterError(f"android-battery: the phone's answer is none: {' '.join(content.split())[:80]!r}")
    if status != "Discharging":
        raise MeterError(
            f"android-battery is {status.lower() or 'in an unknown state'}, so it is not all that powers the phone: reach it over Wi-Fi "
            "(adb tcpip), and unplug it"
        )
    current, microvolts = (abs(int(text)) for text in numbers)
    if not unit and current < _LEAST_UA:
        raise MeterError(
            f"android-battery: a current of {current} may be in mA or in µA; say which: android-battery=SERIAL,mA"
        )
    amperes = current * (1e-3 if unit == "mA" else 1e-6)
    return amperes * microvolts * 1e-6
