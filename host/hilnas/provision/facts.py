"""What a board is, and whether an agent can live there."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from hilnas.provision.connection import Connection
from hilnas.provision.errors import UnfitBoardError

PYTHONS = ("3.11", "3.12", "3.13")
"""Versions of Python that an agent runs on."""
OLDEST_GLIBC = (2, 27)
"""The oldest that inference runtimes are built for."""
_SCRIPT = Path(__file__).with_name("facts.sh")
_MACHINES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "armv7l": "armv7l",
}


@dataclass(frozen=True)
class Python:
    """An interpreter of the board's system."""

    path: str
    version: str
    """"3.11"."""
    bits: int
    modules: frozenset[str]
    """Of venv and numpy, those that are there."""


@dataclass(frozen=True)
class BoardFacts:
    """What the board said of itself."""

    hostname: str
    user: str
    machine: str
    """x86_64, aarch64, armv7l (also a 32-bit system on a 64-bit kernel), or what the kernel says."""
    glibc: tuple[int, int] | None
    libc: str
    pythons: tuple[Python, ...]
    free_kib: int
    memory_kib: int
    systemd: int
    """Its version; 0 without."""
    openssl: bool
    read_only: bool
    android: bool
    clock_off_s: float
    """Its clock less this host's, in s."""

    @property
    def python(self) -> Python:
        """The interpreter that an agent gets. UnfitBoardError when none will do."""
        found = next(iter(_usable(self)), None)
        if found is None:
            raise UnfitBoardError(_no_python(self))
        return found


def look(board: Connection) -> BoardFacts:
    """Ask a board what it is."""
    began = time.time()
    text = board.script(_SCRIPT.read_text(encoding="utf-8"), what="look around")
    return parse(text, (began + time.time()) / 2)


def parse(text: str, host_time: float) -> BoardFacts:
    """Return the facts in the script's output; `host_time` is when it ran by this host's clock, in s."""
    values: dict[str, str] = {}
    pythons: dict[str, Python] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "python":
            found = _python(value)
            if found:
                pythons.setdefault(found.version, found)
        else:
            values[key] = value.strip()
    libc = values.get("libc", "")
    return BoardFacts(
        hostname=values.get("hostname", ""),
        user=values.get("user", ""),
        machine=_machine(values.get("machine", ""), tuple(pythons.values())),
        glibc=_glibc(libc),
        libc=libc,
        pythons=tuple(pythons.values()),
        free_kib=_number(values.get("free_kib", "")),
        memory_kib=_number(values.get("memory_kib", "")),
        systemd=_number(values.get("systemd", "").partition(".")[0]),
        openssl=bool(values.get("openssl")),
        read_only="ro" in values.get("mount", "").split(","),
        android="android" in values,
        clock_off_s=_number(values.get("now", "")) - host_time,
    )


def check(facts: BoardFacts, name: str) -> None:
    """Raise UnfitBoardError, with the remedy, when no agent can live on the board called `name`."""
    problems = [f"{name}: {problem}" for problem in _problems(facts)]
    if problems:
        raise UnfitBoardError("\n".join(problems))


def _problems(facts: BoardFacts) -> list[str]:
    if facts.android:
        return [
            "this is Android: phones are driven by a hub, or run the agent in Termux (deploy/README.md, Phones)"
        ]
    if facts.machine not in _MACHINES.values():
        return [
            f"there are no inference runtimes for {facts.machine or 'this machine'}: x86_64, aarch64 and armv7l have them"
        ]
    if facts.glibc is None:
        return [
            f"its C library is no glibc ({facts.libc[:60] or 'unknown'}), and inference runtimes need one: use Debian or kin"
        ]
    problems = []
    if facts.glibc < OLDEST_GLIBC:
        least, found = (".".join(map(str, version)) for version in (OLDEST_GLIBC, facts.glibc))
        problems.append(f"glibc {found} is older than {least}: upgrade its system")
    if facts.read_only:
        problems.append(
            "/opt is mounted read-only: mount it for writing (raspi-config: Overlay File System off)"
        )
    python = next(iter(_usable(facts)), None)
    if python is None:
        problems.append(_no_python(facts))
    elif facts.machine == "armv7l" and "numpy" not in python.modules:
        problems.append(
            "a 32-bit board takes Debian's NumPy, which is not there: sudo apt install python3-numpy"
        )
    return problems


def _usable(facts: BoardFacts) -> list[Python]:
    return [
        python for python in facts.pythons if python.version in _versions(facts) and "venv" in python.modules
    ]


def _versions(facts: BoardFacts) -> tuple[str, ...]:
    # 32-bit ARM has tflite-runtime alone, which ends at 3.11.
    return PYTHONS[:1] if facts.machine == "armv7l" else PYTHONS


def _no_python(facts: BoardFacts) -> str:
    fitting = [python for python in facts.pythons if python.version in _versions(facts)]
    if fitting:
        return f"its Python {fitting[0].version} lacks the module venv: sudo apt install python3-venv"
    has = ", ".join(python.version for python in facts.pythons) or "none"
    wanted = " or ".join(_versions(facts))
    return f"an agent needs Python {wanted}, and the board has {has}: install one (Debian 12 and 13 bring it)"


def _python(value: str) -> Python | None:
    path, _, rest = value.partition(" ")
    version, _, rest = rest.partition(" ")
    bits, _, modules = rest.partition(" ")
    if not (version and bits.isdigit()):
        return None
    return Python(path, version, int(bits), frozenset(modules.split()))


def _machine(kernel: str, pythons: tuple[Python, ...]) -> str:
    """Return whose wheels fit: a 32-bit system may run on a 64-bit kernel."""
    narrow = bool(pythons) and all(python.bits == 32 for python in pythons)
    if narrow and kernel in ("aarch64", "arm64", "armv8l"):
        return "armv7l"
    return f"{kernel} (32-bit system)" if narrow and kernel == "x86_64" else _MACHINES.get(kernel, kernel)


def _glibc(libc: str) -> tuple[int, int] | None:
    if "musl" in libc.lower():
        return None
    found = re.search(r"\b(\d+)\.(\d+)\b", libc) if re.search(r"glibc|GNU|GLIBC", libc) else None
    return (int(found[1]), int(found[2])) if found else None


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
