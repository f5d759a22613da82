"""Keeps out of the agent's process what gRPC pulls in and the agent never uses."""

import os
import sys
from collections.abc import Sequence
from types import ModuleType

_UNUSED = ("ssl", "_hashlib")
"""Python's bindings to OpenSSL: gRPC brings its own TLS, and asyncio and hashlib do without them."""

_MALLOC = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "65536"}
_MARK = "HILNAS_AGENT_RESTARTED"
_TOKEN = "HILNAS_TOKEN"  # noqa: S105 - the name of the variable


def restart_with_few_heaps(arguments: Sequence[str]) -> int:
    """Restarts this program once, with glibc told to share few heaps; the parent's id at the first start.

    By default every thread of gRPC gets a heap of its own, and what passes through once stays: 1.5 MiB
    after some large models. glibc reads these settings at its start and nowhere else without ctypes,
    which costs half of what they save. They are taken out of the environment again, since a worker
    must measure with the allocator as it comes. Settings of the caller's own are left as they are.

    The token goes over by a pipe: what a process was started with stays in /proc/<pid>/environ for every
    process of the same user, a model's worker too.
    """
    parent_pid, _, rest = os.environ.pop(_MARK, "").partition(":")
    if parent_pid.isdigit():
        token_fd, _, ours = rest.partition(":")
        for name in filter(None, ours.split(",")):
            os.environ.pop(name, None)
        if token_fd.isdigit():
            with os.fdopen(int(token_fd), "rb") as pipe:
                os.environ[_TOKEN] = os.fsdecode(pipe.read())
        return int(parent_pid)
    settings = {} if any(name in os.environ for name in _MALLOC) else _MALLOC
    if sys.executable and (settings or _TOKEN in os.environ):
        environment = {**os.environ, **settings}
        token_fd = _hand_over(environment.pop(_TOKEN, ""))
        environment[_MARK] = f"{os.getppid()}:{token_fd}:{','.join(settings)}"
        os.execve(sys.executable, [sys.executable, "-P", "-m", "hilnas_agent", *arguments], environment)  # noqa: S606
    return os.getppid()


def _hand_over(token: str) -> str:
    """The descriptor from which the restarted program reads the token; empty where there is none."""
    content = os.fsencode(token)
    if not content:
        return ""
    reader, writer = os.pipe()
    # A pipe that nobody reads yet holds 64 KiB; a token that long is refused later, cut or not.
    os.set_blocking(writer, False)
    os.write(writer, content)
    os.close(writer)
    os.set_inheritable(reader, True)
    return str(reader)


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
