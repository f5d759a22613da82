"""What a process of ours may use, and when it must die."""

import contextlib
import os
import resource
import signal
from pathlib import Path

from hilnas_agent import memory, sandbox

_NO_FILES = 256
_PR_SET_PDEATHSIG = 1
_GRACE_S = 5


def limit_start() -> None:
    """Limits that hold from a worker's first moment: no core file, few open files, first to be killed."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, _NO_FILES)
    # When memory runs out the kernel must take the worker, whose model is to blame, not the agent.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def limit_job(address_space_mib: int, cpu_seconds: int) -> None:
    """Limits of one job, set before its model is loaded: address space in MiB (0: none), processor time.

    A worker writes to pipes alone, which the limit on files does not concern. From here on no file can
    be opened for writing and no process started (see `sandbox`).
    """
    _lower(resource.RLIMIT_FSIZE, 0)
    # The soft limit sends SIGXCPU, which names the cause; the hard one would send a mute SIGKILL.
    _lower(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + _GRACE_S)
    if address_space_mib:
        _lower(resource.RLIMIT_AS, address_space_mib << 20)
    memory.prepare_reset()
    sandbox.confine()


def default_address_space_mib() -> int:
    """Backstop where a job names none: the device's memory and 1 GiB for what is mapped but unused."""
    return (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20) + 1024


def die_with_parent(parent_pid: int, number: int = signal.SIGKILL) -> bool:
    """Has the kernel send a signal here when the thread that started us ends; False if it already has."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    # The parent may have died before the call: then nobody would ever send the signal.
    return os.getppid() == parent_pid


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    wanted = (soft, soft if hard is None else hard)
    _, most = resource.getrlimit(kind)
    if most != resource.RLIM_INFINITY:
        wanted = (min(wanted[0], most), min(wanted[1], most))
    resource.setrlimit(kind, wanted)
