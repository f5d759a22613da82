"""The state of the device: temperature, frequency, throttling, load, pressure, swapping."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PLAUSIBLE_C = (-40.0, 150.0)
_PI_BITS = "sys/devices/platform/soc/soc:firmware/get_throttled"
ROOT = Path("/")

THROTTLED_NOW = 0xF
"""Bits of the Raspberry Pi's get_throttled: under-voltage, capped, throttled, soft temperature limit, now.

The same four bits sixteen places higher say that it has happened since the last boot.
"""


@dataclass(frozen=True)
class Reading:
    """What /sys and /proc said at one moment; None or empty where they say nothing."""

    temperature_c: float | None
    governor: str
    frequency_khz: int | None
    load_average: float | None
    target_khz: int | None = None
    """Highest frequency that the governor allows."""
    least_khz: int | None = None
    throttle_bits: int | None = None
    cpu_pressure: float | None = None
    """Share of the last ten seconds in which some task waited for a processor (PSI)."""
    swapped_pages: int = 0
    """Pages swapped in and out since the boot."""


def read(root: Path = ROOT, cpus: Sequence[int] = ()) -> Reading:
    """State of the device, with governor and frequency of the slowest of `cpus`, or of the one in use."""
    places = [cpufreq(root, cpu) for cpu in cpus or [_current_cpu(root)]]
    slowest = min(places, key=lambda place: _whole(place / "scaling_cur_freq") or 0)
    load = _text(root / "proc/loadavg").split()
    return Reading(
        temperature_c=hottest_c(root),
        governor=_text(slowest / "scaling_governor"),
        frequency_khz=_whole(slowest / "scaling_cur_freq"),
        load_average=_number(load[0]) if load else None,
        target_khz=_whole(slowest / "scaling_max_freq"),
        least_khz=_whole(slowest / "scaling_min_freq"),
        throttle_bits=_bits(root),
        cpu_pressure=_pressure(root),
        swapped_pages=_swapped(root),
    )


def hottest_c(root: Path = ROOT) -> float | None:
    """Highest temperature of the thermal zones, in degrees Celsius; None without a sensor."""
    readings = (_number(_text(zone)) for zone in root.glob("sys/class/thermal/thermal_zone*/temp"))
    degrees = [milli / 1000 for milli in readings if milli is not None]
    low, high = _PLAUSIBLE_C
    # Zones without a sensor behind them report nonsense such as -273 or 0x7fffffff.
    return max((value for value in degrees if low < value < high), default=None)


def frequency_khz(root: Path, cpus: Sequence[int]) -> int | None:
    """Lowest present frequency of `cpus`, in kHz; None when the kernel does not say."""
    found = (_whole(cpufreq(root, cpu) / "scaling_cur_freq") for cpu in cpus)
    return min((value for value in found if value is not None), default=None)


def cpufreq(root: Path, cpu: int) -> Path:
    """Where the kernel tells of a processor's frequency."""
    return root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"


def bit_names(bits: int) -> list[str]:
    """What the lower four bits of get_throttled say."""
    names = ("under-voltage", "a capped frequency", "throttling", "the soft temperature limit")
    return [name for place, name in enumerate(names) if bits >> place & 1]


def _bits(root: Path) -> int | None:
    try:
        return int(_text(root / _PI_BITS), 16)
    except ValueError:
        return None


def _pressure(root: Path) -> float | None:
    found = re.search(r"some avg10=([0-9.]+)", _text(root / "proc/pressure/cpu"))
    return float(found[1]) / 100 if found else None


def _swapped(root: Path) -> int:
    counts = re.findall(r"^pswp(?:in|out) (\d+)$", _text(root / "proc/vmstat"), re.MULTILINE)
    return sum(int(count) for count in counts)


def _current_cpu(root: Path) -> int:
    # Field 39 of proc(5); the second is the command in parentheses and may hold spaces.
    fields = _text(root / "proc/self/stat").rpartition(")")[2].split()
    return int(fields[36]) if len(fields) > 36 else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _whole(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
