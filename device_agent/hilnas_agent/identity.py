"""What this device is: processor, board, memory, system, class, runtimes, energy meters.

Run as a program it prints the facts as JSON: the agent asks a short-lived process, so that what is
needed to look around (package metadata above all) does not stay in the agent's memory.
"""

import json
import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hilnas_agent import meters, runtimes

ROOT = Path("/")

_ARM_PARTS = {
    0xB76: "ARM1176", 0xC05: "Cortex-A5", 0xC07: "Cortex-A7", 0xC08: "Cortex-A8",
    0xC09: "Cortex-A9", 0xC0E: "Cortex-A17", 0xC0F: "Cortex-A15", 0xD01: "Cortex-A32",
    0xD02: "Cortex-A34", 0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55",
    0xD06: "Cortex-A65", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72", 0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77",
    0xD0E: "Cortex-A76AE", 0xD40: "Neoverse-V1", 0xD41: "Cortex-A78", 0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1", 0xD46: "Cortex-A510", 0xD47: "Cortex-A710", 0xD48: "Cortex-X2",
    0xD49: "Neoverse-N2", 0xD4B: "Cortex-A78C", 0xD4D: "Cortex-A715", 0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2", 0xD80: "Cortex-A520", 0xD81: "Cortex-A720", 0xD82: "Cortex-X4",
}  # fmt: skip
_ARM = 0x41
_NOISE = re.compile(r"\((R|TM|tm)\)|\bCPU\b|\bProcessor\b|@.*$|\b\d+-Core\b", re.IGNORECASE)
_RASPBERRY = re.compile(r"Raspberry Pi (?:(\d+)|(Compute Module|Zero)(?: (\d+))?)?")


def cpu_model(root: Path = ROOT) -> str:
    """Processor as a person names it: "Cortex-A72", "Intel Xeon"; several core types joined by " + "."""
    text = _text(root / "proc/cpuinfo")
    names: list[str] = []
    implementer = None
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "CPU implementer":
            implementer = _hex(value)
        elif key == "CPU part":
            names.append(_part_name(implementer, _hex(value)))
        elif key == "model name" and implementer is None and "ARM" not in value:
            names.append(" ".join(_NOISE.sub(" ", value).split()))
    unique = sorted(set(filter(None, names)))
    return " + ".join(unique) or platform.machine()


def board_model(root: Path = ROOT) -> str:
    """Board from the device tree, e.g. "Raspberry Pi 4 Model B Rev 1.4"; empty without one."""
    for place in ("proc/device-tree/model", "sys/firmware/devicetree/base/model"):
        text = _text(root / place).strip("\0 \n")
        if text:
            return text
    return ""


def device_class(board: str, cpu: str, machine: str) -> str:
    """Slug of interchangeable devices: "raspberrypi4-cortexa72", "x86-64-intel-xeon"."""
    core = _slug(cpu.replace("Cortex-", "cortex").replace("Neoverse-", "neoverse"))
    pi = _RASPBERRY.match(board)
    if pi:
        number, kind, generation = pi.groups()
        short = {"Compute Module": "cm", "Zero": "zero"}.get(kind or "", "")
        return f"raspberrypi{short}{number or generation or ''}-{core}"
    return f"{_slug(board or machine)}-{core}" if core != _slug(machine) else _slug(board or machine)


def boot_id(root: Path = ROOT) -> str:
    """The kernel's id of this boot; empty when it has none."""
    return _text(root / "proc/sys/kernel/random/boot_id").strip()


def memory_kib(root: Path = ROOT) -> int:
    """Total memory in KiB; 0 when unknown."""
    return meminfo_kib("MemTotal", root)


def meminfo_kib(name: str, root: Path = ROOT) -> int:
    """A line of /proc/meminfo, in KiB; 0 when it is not there."""
    found = re.search(rf"^{name}:\s+(\d+)", _text(root / "proc/meminfo"), re.MULTILINE)
    return int(found[1]) if found else 0


def os_name(root: Path = ROOT) -> str:
    """Operating system, e.g. "Debian GNU/Linux 12 (bookworm)"."""
    for place in ("etc/os-release", "usr/lib/os-release"):
        found = re.search(r'^PRETTY_NAME="?([^"\n]*)', _text(root / place), re.MULTILINE)
        if found:
            return found[1]
    return platform.system()


METER = "--meter="
"""What marks a meter among the program's arguments; the others are runtimes."""


def facts(
    extra_runtimes: Sequence[str] = (), root: Path = ROOT, extra_meters: Sequence[str] = ()
) -> dict[str, Any]:
    """All of it, as plain data: the fields of the wire's DeviceInfo, and class, boot id, paths of plug-ins."""
    offers, reasons = runtimes.discover(extra_runtimes)
    found, unreadable = meters.discover(extra_meters, root)
    cpu, board, machine = cpu_model(root), board_model(root), platform.machine()
    device = {
        "cpu_model": cpu,
        "machine": machine,
        "board_model": board,
        "cores": len(os.sched_getaffinity(0)),
        "memory_kib": memory_kib(root),
        "os": os_name(root),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "meters": [
            {"name": m.name, "boundary": m.boundary, "rate_hz": m.rate_hz, "coarse": m.coarse}
            for m in found
            if not m.canary_only
        ],
    }
    return {
        "device": device,
        "device_class": device_class(board, cpu, machine),
        "boot_id": boot_id(root),
        "offers": [list(offer) for offer in offers],
        "reasons": reasons,
        "meters": [list(meter) for meter in found],
        "meter_reasons": unreadable,
    }


def _part_name(implementer: int | None, part: int | None) -> str:
    if part is None:
        return ""
    known = _ARM_PARTS.get(part) if implementer == _ARM else None
    return known or f"arm-{implementer or 0:02x}-{part:03x}"


def _hex(text: str) -> int | None:
    try:
        return int(text, 16)
    except ValueError:
        return None


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    given = sys.argv[1:]
    named = [text.removeprefix(METER) for text in given if text.startswith(METER)]
    plain = [text for text in given if not text.startswith(METER)]
    json.dump(facts(plain, extra_meters=named), sys.stdout)
