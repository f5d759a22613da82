"""Keeps out of the agent's process what gRPC pulls in and the agent never uses."""

import os
import sys
from collections.abc import Sequence
from types import ModuleType

_UNUSED = ("ssl", "_hashlib")
"""Python's bindings to OpenSSL: gRPC brings its own TLS, and asyncio and hashlib do without them."""

_MALLOC = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "65536"}
_MARK = "HILNAS_AGENT_RESTARTED"


def restart_with_few_heaps(arguments: Sequence[str]) -> int:
    """Restarts this program once, with glibc told to share few heaps; the parent's id at the first start.

    By default every thread of gRPC gets a heap of its own, and what passes through once stays: 1.5 MiB
    after some large models. glibc reads these settings at its start and nowhere else without ctypes,
    which costs half of what they save. They are taken out of the environment again, since a worker
    must measure with the allocator as it comes. Does nothing where one of them is set already.
    """
    parent_pid = os.environ.pop(_MARK, "")
    if parent_pid.isdigit():
        for name in _MALLOC:
            os.environ.pop(name, None)
        return int(parent_pid)
    if sys.executable and not any(name in os.environ for name in _MALLOC):
        environment = {**os.environ, **_MALLOC, _MARK: str(os.getppid())}
        os.execve(sys.executable, [sys.executable, "-P", "-m", "hilnas_agent", *arguments], environment)  # noqa: S606
    return os.getppid()


def import_grpc() -> None:
    """Imports grpc and hashlib about 6 MiB lighter than a plain import; call it before anything else does.

    A module name that maps to None in `sys.modules` raises ImportError when imported: the
    documented way to block one. Both asyncio (which gRPC imports) and hashlib handle that case.
    Afterwards the names are free again.
    """
    if "grpc" in sys.modules:
        return
    blocked = [name for name in _UNUSED if name not in sys.modules]
    for name in blocked:
        sys.modules[name] = None  # type: ignore[assignment]
    # The package imports its asyncio half at its end; an empty module satisfies that.
    sys.modules["grpc.aio"] = ModuleType("grpc.aio")
    try:
        import hashlib  # noqa: F401

        import grpc  # noqa: F401
    finally:
        for name in blocked:
            sys.modules.pop(name, None)
