"""How much memory there is, is in use, and a worker has: of this machine or, where that is less, of its control group."""

import os
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30

_ROOT = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60
"""A limit of a control group beyond this is none."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    used: int
    total: int

    @property
    def share(self) -> float:
        """Share in use, 0 to 1."""
        return self.used / self.total


def memory(root: Path = _ROOT, own: Path = Path("/proc/self/cgroup")) -> Memory:
    """Return the memory that is nearest to its end: the machine's, or that of a group this process is in."""
    import psutil

    machine = psutil.virtual_memory()
    known = [Memory(machine.total - machine.available, machine.total)]
    for folder, most, now in _groups(root, own.read_text()):
        total = _number(folder / most)
        used = _number(folder / now)
        if total is not None and used is not None and 0 < total < _NO_LIMIT:
            known.append(Memory(max(0, used - _reclaimable(folder / "memory.stat")), total))
    return max(known, key=lambda each: each.share)


def memory_of(pid: int) -> int:
    """Return the bytes that a process has and that are no files'; 0 when it is gone."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * _PAGE


def kills() -> int:
    """Return how many processes the kernel has ended, since it started, because memory had run out."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return 0


def _groups(root: Path, own: str) -> list[tuple[Path, str, str]]:
    """Folders of the groups with the names of their files for the limit and the use; versions 2 and 1."""
    found = []
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "memory" if controllers else root
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else ("memory.max", "memory.current")
        )
        group = Path(path.lstrip("/"))
        # In a container the path may be the outer one, and only the root be there.
        found += [(base / each, *names) for each in (group, *group.parents)]
    return found


def _reclaimable(stat: Path) -> int:
    """Files' pages: the kernel takes them back before anything runs out."""
    try:
        figures = dict(line.split(" ", 1) for line in stat.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    kinds = ("active_file", "inactive_file")
    return sum(int(figures.get(f"total_{kind}", figures.get(kind, 0))) for kind in kinds)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max" is no number, and no limit
        return None
