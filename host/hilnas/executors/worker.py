"""The host's side of a local worker: one process at a time, which takes one function at a time."""

import asyncio
import pickle
import signal
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hilnas.executors.base import OutOfMemoryError, WorkerDiedError
from hilnas.executors.checkpoint import Checkpoint
from hilnas.executors.inside import Told
from hilnas.executors.local_worker import PROGRESS, RAISED, SAVED
from hilnas.executors.memory import kills, memory_of
from hilnas.executors.processes import Forge, WorkerProcess


class Worker:
    """A process that is started when it is first needed, and again after it was lost."""

    def __init__(self, forge: Forge, environment: Mapping[str, str], log: Path, going: asyncio.Event) -> None:
        self.process: WorkerProcess | None = None
        self._forge = forge
        self._environment = environment
        self._log = log
        self._going = going
        self._line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.busy = False
        self._at_first = 0
        self._overgrown = ""

    async def call(self, payload: bytes, told: Told | None, checkpoint: Checkpoint | None) -> Any:
        """Return what a pickled (function, arguments) comes to.

        WorkerDiedError when the process is lost; OutOfMemoryError when it took too much memory.
        """
        self.busy, self._at_first = True, 0
        try:
            return await self._call(payload, told, checkpoint)
        finally:
            self.busy = False

    def memory(self) -> int:
        """Return the bytes that its work has taken, and the process before it; 0 without work."""
        return memory_of(self.process.pid) if self.busy and self.process is not None else 0

    def grown(self) -> int:
        """Return the bytes by which the process has grown since its work began."""
        return self.memory() - self._at_first

    def end_for_memory(self, why: str) -> None:
        """End the process: its work has taken too much."""
        self._overgrown = why
        self.signal(signal.SIGKILL)

    async def _call(self, payload: bytes, told: Told | None, checkpoint: Checkpoint | None) -> Any:
        kept = None if checkpoint is None else await asyncio.to_thread(checkpoint.load)
        process, (answers, calls) = await self._started()
        await self._going.wait()
        self._overgrown, self._at_first, killed = "", memory_of(process.pid), kills()
        try:
            for part in (payload, pickle.dumps(kept)):
                calls.write(struct.pack("<Q", len(part)) + part)
                await calls.drain()
            kind, value = await _answer(answers)
            while kind in (PROGRESS, SAVED):
                if kind == PROGRESS and told is not None:
                    told(value)
                if kind == SAVED and checkpoint is not None:
                    await asyncio.to_thread(checkpoint.save, value)
                kind, value = await _answer(answers)
        except (asyncio.IncompleteReadError, ConnectionError):
            process.signal(signal.SIGKILL)  # it may have closed its line and live on
            code = await process.wait()
            self._forget()
            if self._overgrown or (code == -signal.SIGKILL and kills() > killed):
                why = self._overgrown or "was ended by the kernel, which had run out of memory"
                raise OutOfMemoryError(f"a worker process {why}; see {self._log}") from None
            end = _end(code)
            raise WorkerDiedError(f"a worker process {end}; see {self._log}") from None
        except BaseException:
            await self.kill()  # cancelled half-way: what it would still say belongs to nobody
            raise
        if kind == RAISED:
            raise value
        return value

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self.process is not None:
            self.process.signal(number)

    async def kill(self) -> None:
        """End the process, and wait until it is gone."""
        process = self.process
        self._forget()
        if process is not None:
            process.signal(signal.SIGKILL)
            await process.wait()

    async def _started(self) -> tuple[WorkerProcess, tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if self.process is None or self.process.ended or self._line is None:
            self._forget()
            await self._going.wait()  # imports are work, too
            ours, theirs = socket.socketpair()
            try:
                self.process = await self._forge.make(theirs, self._environment)
                self._line = await asyncio.open_unix_connection(sock=ours)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
        return self.process, self._line

    def _forget(self) -> None:
        if self._line is not None:
            self._line[1].close()
        self.process = self._line = None


async def _answer(stream: asyncio.StreamReader) -> tuple[str, Any]:
    (length,) = struct.unpack("<Q", await stream.readexactly(8))
    kind, value = pickle.loads(await stream.readexactly(length))  # nosec B301 # noqa: S301 - from our own child
    return kind, value


def _end(code: int | None) -> str:
    if code is None:
        return "ended with the template that it was forked from"
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
