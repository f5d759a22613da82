"""The state of the device: temperature, frequency, governor, load."""

from dataclasses import dataclass
from pathlib import Path

_PLAUSIBLE_C = (-40.0, 150.0)
ROOT = Path("/")


@dataclass(frozen=True)
class Reading:
    """What /sys and /proc said at one moment; None or empty where they say nothing."""

    temperature_c: float | None
    governor: str
    frequency_khz: int | None
    load_average: float | None


def read(root: Path = ROOT) -> Reading:
    """State of the device, with the governor and frequency of the processor that runs this very code."""
    cpu = root / f"sys/devices/system/cpu/cpu{_current_cpu(root)}/cpufreq"
    frequency = _text(cpu / "scaling_cur_freq")
    load = _text(root / "proc/loadavg").split()
    return Reading(
        temperature_c=_hottest(root),
        governor=_text(cpu / "scaling_governor"),
        frequency_khz=int(frequency) if frequency.isdigit() else None,
        load_average=_number(load[0]) if load else None,
    )


def _hottest(root: Path) -> float | None:
    readings = (_number(_text(zone)) for zone in root.glob("sys/class/thermal/thermal_zone*/temp"))
    degrees = [milli / 1000 for milli in readings if milli is not None]
    low, high = _PLAUSIBLE_C
    # Zones without a sensor behind them report nonsense such as -273 or 0x7fffffff.
    return max((value for value in degrees if low < value < high), default=None)


def _current_cpu(root: Path) -> int:
    # Field 39 of proc(5); the second is the command in parentheses and may hold spaces.
    fields = _text(root / "proc/self/stat").rpartition(")")[2].split()
    return int(fields[36]) if len(fields) > 36 else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
