"""Resident memory of this process, by its kernel counters."""

import contextlib
import os
from functools import cache
from pathlib import Path

_SELF = Path("/proc/self")


def resident_kib() -> int:
    """Resident memory now, in KiB; 0 when the kernel does not say."""
    return _status("VmRSS:")


def peak_kib() -> int:
    """Highest resident memory since the start or the last `reset_peak`, in KiB; 0 when unknown.

    Not `ru_maxrss`: that is inherited over fork, so a child reports the peak of its parent.
    """
    return _status("VmHWM:")


def prepare_reset() -> None:
    """Opens what `reset_peak` writes to, for a process that is about to lose the right to open files."""
    with contextlib.suppress(OSError):
        _clear_refs()


def reset_peak() -> bool:
    """Makes the present resident memory the new peak; False where the kernel does not let us (proc(5))."""
    try:
        os.write(_clear_refs(), b"5")
    except OSError:
        return False
    return True


@cache
def _clear_refs() -> int:
    return os.open(_SELF / "clear_refs", os.O_WRONLY | os.O_CLOEXEC)


def _status(name: str) -> int:
    try:
        lines = (_SELF / "status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
