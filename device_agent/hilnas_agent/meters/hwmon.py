"""Shunt meters behind the kernel's hwmon: INA219, INA226, INA260, INA3221 and their kin.

Source: Documentation/hwmon/sysfs-interface.rst, ina2xx.rst, ina3221.rst: power in µW, voltage in mV, current
in mA. What a chip sees depends on where its shunt sits: in a board's supply unless the argument says
otherwise ("hwmon=rails"). A Jetson's INA3221 labels the channel of the whole board.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from hilnas_agent.meters import BOUNDARIES, POWER, Meter, MeterError, Reading, Traits
from hilnas_agent.meters.reading import Polled, number, text, timed

_CHIPS = ("ina2", "ina3", "ina4", "ltc29", "isl28022", "pac19")
_INPUT_LABELS = ("VDD_IN", "POM_5V_IN", "5V_IN", "VIN_SYS_5V0")
_RATE_HZ, _FASTEST_HZ = 20.0, 100.0
_LSB_UV = {"ina219": (10.0, 20), "ina220": (10.0, 20), "ina226": (2.5, 25), "ina230": (2.5, 25),
           "ina231": (2.5, 25), "ina3221": (40.0, 1)}  # fmt: skip
"""Smallest shunt voltage in µV, and the smallest power in smallest currents at 1 V: the data sheets."""


class Hwmon:
    """The driver: a meter for each chip of one channel; for one of several, each channel and their sum."""

    name = "hwmon"

    def find(self, argument: str, root: Path) -> Sequence[Meter]:
        """The chips that the kernel knows; `argument` is the boundary that they are wired to."""
        if argument and argument not in BOUNDARIES:
            raise MeterError(f"hwmon={argument}: no boundary; known are {', '.join(BOUNDARIES)}")
        found: list[Shunts] = []
        for folder in sorted(root.glob("sys/class/hwmon/hwmon*")):
            chip = text(folder / "name")
            if chip.startswith(_CHIPS):
                found += _meters(folder, chip, argument)
        return _named_apart(found)


class _Channel:
    """One shunt: its power in µW, or its voltage and current."""

    def __init__(self, folder: Path, number_: int) -> None:
        self.number = number_
        self._power = folder / f"power{number_}_input"
        self._volts, self._amperes = folder / f"in{number_}_input", folder / f"curr{number_}_input"
        self._has_power = self._power.exists()
        self.label = text(folder / f"in{number_}_label") or text(folder / f"power{number_}_label")

    def watts(self) -> float:
        """Power now, in W, with the sign that the chip gives it."""
        if self._has_power:
            return number(self._power) * 1e-6
        return number(self._volts) * 1e-3 * number(self._amperes) * 1e-3

    def volts(self) -> float:
        """Voltage now, in V; 1 where the chip does not tell."""
        return number(self._volts) * 1e-3 if self._volts.exists() else 1.0


class Shunts(Polled):
    """The sum of one or more channels of a chip."""

    def __init__(self, folder: Path, traits: Traits, channels: list[_Channel]) -> None:
        self.folder, self.traits, self._channels = folder, traits, channels
        # The chip shows the mean of its last whole conversion, which ended up to another one ago.
        self._conversion_ns = round(_conversion_ms(folder) * 1e6)

    def problem(self) -> str | None:
        """Why a channel cannot be read: it is disabled, or the bus does not answer."""
        try:
            self.read()
        except MeterError as error:
            return f"{self.traits.name}: {error}: see the wiring, and in*_enable"
        return None

    def read(self) -> Sequence[Reading]:
        """Power of the channels now, in W."""
        taken = timed(lambda: sum(channel.watts() for channel in self._channels))
        late_ns = self._conversion_ns
        return [Reading(taken.clock_ns - late_ns, taken.value, taken.within_ns + late_ns // 2)]


def _meters(folder: Path, chip: str, boundary: str) -> list[Shunts]:
    """The meters of one chip: the channel of the whole board if there is one, the sum, each channel."""
    channels = _channels(folder)
    name, rate = f"hwmon:{chip}", _rate_hz(folder)
    if len(channels) == 1:
        step = _resolution(folder, chip, channels[0])
        traits = Traits(name, boundary or "board", POWER, rate, step)
        return [Shunts(folder, traits, channels)]
    whole = [channel for channel in channels if channel.label in _INPUT_LABELS]
    # What the whole board takes holds the other channels already.
    parts = [channel for channel in channels if channel not in whole]
    found = []
    for channel in [*whole, *parts]:
        label = channel.label or str(channel.number)
        ours = boundary or ("board" if channel in whole else "rails")
        step = _resolution(folder, chip, channel)
        found.append(Shunts(folder, Traits(f"{name}:{label}", ours, POWER, rate, step), [channel]))
    if len(parts) > 1:
        step = sum(meter.traits.resolution for meter in found[len(whole) :])
        traits = Traits(f"{name}:sum", boundary or "rails", POWER, rate, step)
        found.insert(len(whole), Shunts(folder, traits, parts))
    return found


def _channels(folder: Path) -> list[_Channel]:
    """Channels with a power, or with a current and a voltage; an INA3221's shunt voltages are none."""
    numbers = {int(n) for path in folder.glob("power*_input") for n in re.findall(r"\d+", path.name)}
    for path in folder.glob("curr*_input"):
        (place,) = re.findall(r"\d+", path.name)
        if (folder / f"in{place}_input").exists() and text(folder / f"in{place}_enable") != "0":
            numbers.add(int(place))
    return [_Channel(folder, place) for place in sorted(numbers)]


def _rate_hz(folder: Path) -> float:
    """As fast as the chip converts, up to what a file can be read at."""
    conversion_ms = _conversion_ms(folder)
    return min(_FASTEST_HZ, 1000 / conversion_ms) if conversion_ms else _RATE_HZ


def _conversion_ms(folder: Path) -> int:
    """Time of a conversion, in ms; 0 where the kernel does not tell: a few ms at most, by default."""
    interval = text(folder / "update_interval")
    return int(interval) if interval.isdigit() else 0


def _resolution(folder: Path, chip: str, channel: _Channel) -> float:
    """Smallest step of the power, in W; 0 where the chip's data or its shunt are not known."""
    shunt = text(folder / "shunt_resistor") or text(folder / f"shunt{channel.number}_resistor")
    if chip == "ina260":
        return 0.01
    if chip not in _LSB_UV or not shunt.isdigit() or int(shunt) == 0:
        return 0.0
    step_uv, powers = _LSB_UV[chip]
    try:
        return step_uv / int(shunt) * (powers if powers > 1 else channel.volts())
    except MeterError:
        return 0.0


def _named_apart(meters: list[Shunts]) -> list[Shunts]:
    """Two chips of a kind are told apart by the folders that the kernel gave them."""
    chips: dict[str, set[Path]] = {}
    for meter in meters:
        chips.setdefault(_chip(meter), set()).add(meter.folder)
    for meter in meters:
        if len(chips[_chip(meter)]) > 1:
            _, _, rest = meter.traits.name.partition(":")
            meter.traits = meter.traits._replace(name=f"hwmon:{meter.folder.name}:{rest}")
    return meters


def _chip(meter: Shunts) -> str:
    return text(meter.folder / "name")
