"""What a phone's /sys and /proc say, as files on this machine, where the agent's own code reads them.

Also what Android knows beyond them: properties, battery, thermal status.
"""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hilnas_agent.phones.adb import Link, LinkError

_MARK = "==> hilnas "
_STATIC = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/kernel/random/boot_id",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/cpu[0-9]*/cpu_capacity",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
)
_CHANGING = (
    "/proc/loadavg",
    "/proc/pressure/cpu",
    "/sys/class/thermal/thermal_zone[0-9]*/temp",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_[cgm]*",
)
_WANTED = re.compile(r"/(proc|sys)/[A-Za-z0-9_./:-]+")
_HAL_ZONE = 9000
_CHARGING = 2


@dataclass(frozen=True)
class Battery:
    """What `dumpsys battery` says; None where it does not."""

    level_percent: int | None = None
    temperature_c: float | None = None
    charging: bool | None = None
    powered_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """What Android knows of a phone at one moment."""

    battery: Battery = field(default_factory=Battery)
    thermal_status: int | None = None
    """0 for none to 6 for shutdown, as Android's thermal service has it."""


class Mirror:
    """Files below `root` that say what the phone's say: static ones once, changing ones by `refresh`."""

    def __init__(self, link: Link, root: Path) -> None:
        self.link, self.root = link, root
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        self.properties: dict[str, str] = {}
        self.kernel = self.machine = ""

    def read_static(self) -> None:
        """Reads what does not change while the phone is connected."""
        command = (
            f"{_cat(_STATIC)}; {_section('uname')}; uname -rm; {_section('getprop')}; getprop 2>/dev/null"
        )
        for name, text in _sections(self.link.run(command).text):
            if name == "uname":
                self.kernel, _, self.machine = text.strip().rpartition(" ")
            elif name == "getprop":
                self.properties = parse_properties(text)
            else:
                self._write(name, text)

    def refresh(self) -> State:
        """Reads what changes, and what Android knows of the battery and of the heat."""
        command = (
            f"{_cat(_CHANGING)}; {_section('battery')}; dumpsys battery 2>/dev/null; "
            f"{_section('thermal')}; dumpsys thermalservice 2>/dev/null"
        )
        finished = self.link.run(command)
        battery, status, zones, degrees = Battery(), None, False, None
        for name, text in _sections(finished.text):
            if name == "battery":
                battery = parse_battery(text)
            elif name == "thermal":
                status, degrees = parse_thermal(text)
            else:
                zones = zones or "/thermal_zone" in name
                self._write(name, text)
        if not zones and degrees is not None:
            # Newer Androids hide the zones from the shell, but the thermal service tells.
            self._write(f"/sys/class/thermal/thermal_zone{_HAL_ZONE}/temp", f"{round(degrees * 1000)}\n")
        return State(battery, status)

    def cpus(self) -> list[int]:
        """Processors that are on; LinkError when the phone does not tell."""
        path = self.root / "sys/devices/system/cpu/online"
        text = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        found: set[int] = set()
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
            found.update(range(int(first), min(int(last or first), 1023) + 1))
        if not found:
            raise LinkError(
                f"phone {self.link.serial} does not tell its processors (/sys/devices/system/cpu/online): "
                "its shell may not read /sys, so it cannot be driven"
            )
        return sorted(found)

    def _write(self, name: str, text: str) -> None:
        # The phone chose the name, so it may lead nowhere but below the root.
        if not _WANTED.fullmatch(name) or ".." in PurePosixPath(name).parts:
            return
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def parse_properties(text: str) -> dict[str, str]:
    """Android's properties from what `getprop` prints: "[name]: [value]"."""
    return dict(re.findall(r"^\[([^\]\n]+)\]: \[([^\]\n]*)\]", text, re.MULTILINE))


def parse_battery(text: str) -> Battery:
    """What `dumpsys battery` prints; implausible values count as not told."""
    fields = dict(re.findall(r"^\s*([A-Za-z ]+?):\s*(\S+)\s*$", text, re.MULTILINE))
    level, scale = _whole(fields.get("level")), _whole(fields.get("scale")) or 100
    tenths, status = _whole(fields.get("temperature")), _whole(fields.get("status"))
    percent = None if level is None else round(100 * level / scale)
    return Battery(
        level_percent=percent if percent is not None and 0 <= percent <= 100 else None,
        temperature_c=tenths / 10 if tenths is not None and -400 < tenths < 1500 else None,
        charging=None if status is None else status == _CHARGING,
        powered_by=tuple(
            name for name in ("AC", "USB", "Wireless") if fields.get(f"{name} powered") == "true"
        ),
    )


def parse_thermal(text: str) -> tuple[int | None, float | None]:
    """Status and hottest processor, or the hottest of all, in °C, from `dumpsys thermalservice`."""
    status = re.search(r"Thermal Status: (\d)\b", text)
    _, _, current = text.partition("Current temperatures from HAL")
    found = re.findall(r"mValue=(-?[0-9.]+), mType=(\d+)", current.partition("Current cooling")[0])
    degrees = [(kind == "0", value) for text_, kind in found if (value := _plausible_c(text_)) is not None]
    processors = [value for is_processor, value in degrees if is_processor]
    hottest = max(processors or [value for _, value in degrees], default=None)
    return (int(status[1]) if status else None), hottest


def _plausible_c(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if -40 < value < 150 else None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,9}", text) else None


def _cat(patterns: tuple[str, ...]) -> str:
    places = " ".join(patterns)
    # A pattern that matches nothing stays as it is; then there is no such file to read.
    return f'for f in {places}; do [ -r "$f" ] && echo "{_MARK}$f" && cat "$f" 2>/dev/null && echo; done'


def _section(name: str) -> str:
    return f'echo "{_MARK}{name}"'


def _sections(text: str) -> list[tuple[str, str]]:
    found = []
    for part in re.split(rf"^{_MARK}", text, flags=re.MULTILINE)[1:]:
        name, _, content = part.partition("\n")
        found.append((name.strip(), content))
    return found
