"""A filter of system calls around a model: what a network has no business to ask of the kernel is refused.

A torn model can make a runtime run bytes of its file. So before a model is loaded its process gives up
for good: starting processes, so that none outlives it; signals, memory and limits of other processes,
the agent's first; writing or removing files; sockets and shared memory. Not RLIMIT_NPROC: that
counts a user's processes on the whole machine, so it would fail models for what others start.

Linux on x86-64 and ARM; elsewhere, and where the kernel has no filters, `confine` does nothing.
"""

import errno
import os
import struct
from collections.abc import Iterable

_REFUSED = {
    # name: (x86-64, 64-bit ARM, 32-bit ARM); 0 where it does not exist
    **{"fork": (57, 0, 2), "vfork": (58, 0, 190), "execve": (59, 221, 11), "execveat": (322, 281, 387)},
    **{
        "setsid": (112, 157, 66),
        "setpgid": (109, 154, 57),
        "unshare": (272, 97, 337),
        "setns": (308, 268, 375),
    },
    **{"tkill": (200, 130, 238), "rt_sigqueueinfo": (129, 138, 178), "rt_tgsigqueueinfo": (297, 240, 363)},
    **{"pidfd_send_signal": (424, 424, 424), "pidfd_open": (434, 434, 434), "pidfd_getfd": (438, 438, 438)},
    **{"ptrace": (101, 117, 26), "process_vm_readv": (310, 270, 376), "process_vm_writev": (311, 271, 377)},
    **{"creat": (85, 0, 8), "truncate": (76, 45, 92), "ftruncate": (77, 46, 93), "truncate64": (0, 0, 193)},
    **{"ftruncate64": (0, 0, 194), "fallocate": (285, 47, 352), "unlink": (87, 0, 10), "rmdir": (84, 0, 40)},
    **{"unlinkat": (263, 35, 328), "rename": (82, 0, 38), "renameat": (264, 38, 329)},
    **{"renameat2": (316, 276, 382), "link": (86, 0, 9), "linkat": (265, 37, 330), "symlink": (88, 0, 83)},
    **{"symlinkat": (266, 36, 331), "mkdir": (83, 0, 39), "mkdirat": (258, 34, 323), "mknod": (133, 0, 14)},
    **{"mknodat": (259, 33, 324), "chmod": (90, 0, 15), "fchmod": (91, 52, 94), "fchmodat": (268, 53, 333)},
    **{"fchmodat2": (452, 452, 452), "chown": (92, 0, 182), "fchown": (93, 55, 95), "lchown": (94, 0, 16)},
    **{"fchownat": (260, 54, 325), "chown32": (0, 0, 212), "fchown32": (0, 0, 207), "lchown32": (0, 0, 198)},
    **{"utimensat": (280, 88, 348), "mount": (165, 40, 21), "umount2": (166, 39, 52)},
    **{"pivot_root": (155, 41, 218), "chroot": (161, 51, 61), "socket": (41, 198, 281)},
    **{"memfd_create": (319, 279, 385), "shmget": (29, 194, 307), "msgget": (68, 186, 303)},
    **{"mq_open": (240, 180, 274), "reboot": (169, 142, 88), "bpf": (321, 280, 386)},
    **{"perf_event_open": (298, 241, 364), "init_module": (175, 105, 128), "finit_module": (313, 273, 379)},
}
# Callers fall back to an older call, whose arguments a filter can see.
_ABSENT = {"clone3": (435,) * 3, "openat2": (437,) * 3, "io_uring_setup": (425,) * 3}
_CLONE, _OPEN, _OPENAT = (56, 220, 120), (2, 0, 5), (257, 56, 322)
_KILL, _TGKILL, _PRLIMIT = (62, 129, 37), (234, 131, 268), (302, 261, 369)
_SECCOMP = (317, 277, 383)
_AUDIT_ARCH = (0xC000003E, 0xC00000B7, 0x40000028)

_X32 = 0x40000000
_CLONE_THREAD = 0x10000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALL_THREADS, _KEEP_SPECULATION = 1, 1, 4

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000

_Line = tuple[int, int, str, str]
"""Code, operand, and where to go on when it holds and when it does not; empty: the next line."""


def confine() -> bool:
    """Refuses this process, all its threads, the calls named above, for good; False where that cannot be."""
    machine = _machine()
    if machine is None:
        return False
    import ctypes

    code = _assemble(_program(machine, os.getpid()))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    instructions = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("@HP", len(code) // 8, ctypes.addressof(instructions))
    # Kernels before 5.16 slow a filtered process down (speculation off), which would show in latencies.
    for flags in (_ALL_THREADS | _KEEP_SPECULATION, _ALL_THREADS):
        number = ctypes.c_long(_SECCOMP[machine])
        if libc.syscall(number, ctypes.c_long(_SET_MODE_FILTER), ctypes.c_long(flags), filter_) == 0:
            return True
    return False


def _machine() -> int | None:
    """Which of the three columns is this process's; a 32-bit one may run under a 64-bit kernel."""
    wide = struct.calcsize("P") == 8
    name = os.uname().machine
    if name == "x86_64":
        return 0 if wide else None
    if name == "aarch64" and wide:
        return 1
    return 2 if name.startswith(("aarch64", "armv7", "armv8")) and not wide else None


def _program(machine: int, pid: int) -> list[tuple[str, _Line]]:
    """The filter as lines with labels."""
    lines: list[tuple[str, _Line]] = [
        ("", (_LOAD, _ARCH, "", "")),
        ("", (_EQUAL, _AUDIT_ARCH[machine], "", "refuse")),
        ("", (_LOAD, _NUMBER, "", "")),
        ("", (_AT_LEAST, _X32, "refuse", "")),
    ]

    def go(numbers: Iterable[int], label: str) -> None:
        lines.extend(("", (_EQUAL, number, label, "")) for number in numbers if number)

    go((columns[machine] for columns in _ABSENT.values()), "absent")
    go((columns[machine] for columns in _REFUSED.values()), "refuse")
    go([_CLONE[machine]], "clone")
    go([_OPEN[machine]], "open")
    go([_OPENAT[machine]], "openat")
    go([_KILL[machine], _TGKILL[machine], _PRLIMIT[machine]], "own")
    lines += [
        ("", (_RETURN, _ALLOW, "", "")),
        ("clone", (_LOAD, _ARGUMENTS, "", "")),
        ("", (_ANY_BIT, _CLONE_THREAD, "allow", "refuse")),
        ("open", (_LOAD, _ARGUMENTS + 8, "", "")),
        ("", (_ANY_BIT, _WRITING, "refuse", "allow")),
        ("openat", (_LOAD, _ARGUMENTS + 16, "", "")),
        ("", (_ANY_BIT, _WRITING, "refuse", "allow")),
        ("own", (_LOAD, _ARGUMENTS, "", "")),
        ("", (_EQUAL, pid, "allow", "")),
        # prlimit's 0 is the caller; kill's 0 is its process group, which is the worker's own.
        ("", (_EQUAL, 0, "allow", "refuse")),
        ("allow", (_RETURN, _ALLOW, "", "")),
        ("absent", (_RETURN, _ERRNO | errno.ENOSYS, "", "")),
        ("refuse", (_RETURN, _ERRNO | errno.EPERM, "", "")),
    ]
    return lines


def _assemble(lines: list[tuple[str, _Line]]) -> bytes:
    places = {label: place for place, (label, _) in enumerate(lines) if label}
    code = b""
    for place, (_, (operation, operand, holds, otherwise)) in enumerate(lines):
        jumps = (places[label] - place - 1 if label else 0 for label in (holds, otherwise))
        code += struct.pack("=HBBI", operation, *jumps, operand)
    return code
