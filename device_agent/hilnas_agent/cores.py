"""Processors of different kinds (big.LITTLE), and which of them measure."""

from collections.abc import Sequence
from pathlib import Path

from hilnas_agent.conditions import ROOT, cpufreq


def clusters(cpus: Sequence[int], root: Path = ROOT) -> list[list[int]]:
    """`cpus` in groups of equals, the fastest first: by the kernel's capacity, else by highest frequency."""
    groups: dict[tuple[int, int], list[int]] = {}
    for cpu in sorted(cpus):
        capacity = _whole(root / f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity")
        groups.setdefault((capacity, _whole(cpufreq(root, cpu) / "cpuinfo_max_freq")), []).append(cpu)
    return [groups[key] for key in sorted(groups, reverse=True)]


def share_out(cpus: Sequence[int], root: Path = ROOT) -> tuple[list[int], list[int]]:
    """(Processors that measure, processors for the agent itself): the fastest measure, the others serve.

    Where all are equal all may measure, and the agent keeps to the first ones.
    """
    first, *rest = clusters(cpus, root)
    others = [cpu for group in rest for cpu in group]
    return first, others or first[:1]


def pinned(cpus: Sequence[int], threads: int) -> list[int]:
    """The last `threads` of the processors that measure: interrupts tend to go to the first ones."""
    return list(cpus[-threads:])


def _whole(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0
