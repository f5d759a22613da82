"""What runs on the nodes of a Ray cluster: one piece of work, and the actor that carries its words to the host."""

import asyncio
import importlib
import os
import pickle
import platform
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hilnas.errors import HilnasError
from hilnas.executors.inside import Host, work_for

BEGUN, PROGRESS, SAVED, SETTLED = "begun", "progress", "saved", "settled"
"""Kinds of messages to the host."""
RETURNED, RAISED = "returned", "raised"
"""How work ends."""

_ALIKE = ("hilnas", "torch", "numpy")

Message = tuple[str, str, Any]
"""The try that it is about, its kind, and what it says."""


class Mailbox:
    """An actor between the tries on all nodes and the host: keeps messages in order until the host takes them."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._gates: dict[str, asyncio.Event] = {}

    async def post(self, attempt: str, kind: str, value: Any) -> None:
        """Add a message."""
        self._messages.put_nowait((attempt, kind, value))

    async def begin(self, attempt: str, where: Mapping[str, Any]) -> None:
        """Tell that a try has come to a process, and wait until it may go on."""
        gate = self._gates.setdefault(attempt, asyncio.Event())
        self._messages.put_nowait((attempt, BEGUN, where))
        await gate.wait()

    async def go(self, attempt: str) -> None:
        """Let a try go on that waits at its beginning."""
        if attempt in self._gates:
            self._gates[attempt].set()

    async def forget(self, attempt: str) -> None:
        """A try is over."""
        gate = self._gates.pop(attempt, None)
        if gate is not None:
            gate.set()

    async def take(self) -> list[Message]:
        """Return all messages, once there are any."""
        messages = [await self._messages.get()]
        while not self._messages.empty():
            messages.append(self._messages.get_nowait())
        return messages


def same_software() -> dict[str, str]:
    """Return the versions that must be the same on all nodes, so that results are."""
    found = {"python": platform.python_version()}
    for package in _ALIKE:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def this_process() -> dict[str, Any]:
    """Return where this process is: what its host tells nodes by, and whether it could send a signal here."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {
        "machine": f"{boot} {Path('/proc/self/ns/pid').readlink()}",
        "pid": os.getpid(),
        "node": platform.node(),
    }


def run_work(
    mailbox: Any,
    attempt: str,
    software: Mapping[str, str],
    threads: int,
    kept: bytes | None,
    function: bytes,
    order: Sequence[int | bytes],
    *large: bytes,
) -> tuple[str, bytes, str]:
    """Run a pickled function; return how it ended, its pickled value or error, and the error's traceback.

    `order` has its pickled arguments, or where in `large` they are. Whatever it raises itself is no fault of the work.
    """
    ray: Any = importlib.import_module("ray")
    where = {**this_process(), "address": ray.util.get_node_ip_address()}
    node = f"Ray node {where['node']} ({where['address']})"
    if same_software() != dict(software):
        told = RuntimeError(_difference(node, software))
        return RAISED, pickle.dumps(told), str(told)
    ray.get(mailbox.begin.remote(attempt, where))
    last: list[Any] = []

    def post(kind: str, wait: bool, value: Any) -> None:
        ray.get(last)  # an actor of coroutines may begin calls in another order
        last[:] = [mailbox.post.remote(attempt, kind, value)]
        if wait:  # once `save` returns, the end of this node loses nothing
            ray.get(last)

    work_for(Host(partial(post, PROGRESS, False), partial(post, SAVED, True), kept))
    try:
        try:
            call = pickle.loads(function)  # nosec B301 # noqa: S301 - from the host, as all code here
            parts = [part if isinstance(part, bytes) else large[part] for part in order]
            arguments = [pickle.loads(part) for part in parts]  # nosec B301 # noqa: S301
            _limit_threads(threads)
            return RETURNED, pickle.dumps(call(*arguments)), ""
        finally:
            ray.get(last)  # what was told comes before the value
    except Exception as error:  # noqa: BLE001 - every failure travels to the host
        return RAISED, _pickled(_at(node, error)), f"on {node}: {traceback.format_exc()}"


def _difference(node: str, software: Mapping[str, str]) -> str:
    here = same_software()
    told = ", ".join(f"{k} {here[k]} and not {v}" for k, v in software.items() if here[k] != v)
    return f"{node} has {told}: install there what the host has"


def _at(node: str, error: Exception) -> Exception:
    """Name the node in an error about files: what is here need not be there."""
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, f"{error.strerror}, on {node}", error.filename)
    if isinstance(error, HilnasError) and len(error.args) == 1:
        error.args = (f"{error} (on {node})",)
    return error


def _pickled(error: Exception) -> bytes:
    try:
        content = pickle.dumps(error)
        pickle.loads(content)  # nosec B301 # noqa: S301 - some exceptions pickle and do not come back
    except Exception:  # noqa: BLE001
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return content


def _limit_threads(threads: int) -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
