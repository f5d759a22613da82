"""Processes for local workers: forked from a template where there is one, fresh interpreters otherwise."""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from hilnas.executors.template import LARGEST

_log = logging.getLogger(__name__)

_LIVES = 3
"""Templates that are tried, one after the other."""


class WorkerProcess(Protocol):
    """One process."""

    pid: int

    @property
    def ended(self) -> bool:
        """Is it known to have ended?"""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""

    async def wait(self) -> int | None:
        """Return its exit code, negative for a signal, once it has ended; None when nobody can tell."""


class Forge:
    """Makes worker processes, all with one environment and one log."""

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._preload, self._environment, self._log = preload, dict(environment), log
        self._template: _Template | None = None
        self._lives = _LIVES if preload else 0
        self._closed = False

    def warm_up(self) -> None:
        """Start the template now, so that it is ready when it is needed."""
        if self._lives > 0 and (self._template is None or self._template.lost):
            self._lives -= 1
            self._template = _Template(self._preload, self._environment, self._log)

    async def make(self, line: socket.socket, own: Mapping[str, str]) -> WorkerProcess:
        """Start a worker that serves `line`, with variables of its `own` beside the common ones."""
        try:
            self.warm_up()
            if self._template is not None and not self._template.lost:
                return await self._template.fork(line, own)
        except OSError as error:
            if self._closed:
                raise asyncio.CancelledError("the executor is closed") from error
            _log.warning("a worker starts without its template: %s; see %s", error, self._log)
        command = ["hilnas.executors.local_worker", str(os.getpid()), str(line.fileno())]
        return _Interpreter(await _start(command, line, {**self._environment, **own}, self._log))

    def hold(self) -> None:
        """Stop the template where it is at its imports; later it only waits."""
        if self._template is not None and not self._template.ready:
            self._template.signal(signal.SIGSTOP)

    def release(self) -> None:
        """Let the template go on."""
        if self._template is not None:
            self._template.signal(signal.SIGCONT)

    async def close(self) -> None:
        """End the template, and its workers with it."""
        self._closed, self._lives = True, 0
        if self._template is not None:
            await self._template.close()


class _Template:
    """The host's side of a template process."""

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.ready = self.lost = False
        self._asked: deque[asyncio.Future[_Forked]] = deque()
        self._workers: dict[int, _Forked] = {}
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        command = ["hilnas.executors.template", str(os.getpid()), str(theirs.fileno()), *preload]
        # OpenBLAS would start its threads when NumPy is imported, and a fork takes none along.
        alone = {**environment, "OPENBLAS_NUM_THREADS": "1"}
        self._starting = asyncio.ensure_future(_start(command, theirs, alone, log))
        self._starting.add_done_callback(lambda _: theirs.close())
        asyncio.get_running_loop().add_reader(self._control, self._hear)

    async def fork(self, line: socket.socket, own: Mapping[str, str]) -> "_Forked":
        """Return a new worker. OSError when there is none to be had."""
        try:
            await asyncio.shield(self._starting)
        except OSError:
            self._lose("it could not be started")
            raise
        future: asyncio.Future[_Forked] = asyncio.get_running_loop().create_future()
        socket.send_fds(self._control, [json.dumps(dict(own)).encode()], [line.fileno()])
        self._asked.append(future)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(_nobodys)
            raise

    def signal(self, number: signal.Signals) -> None:
        if self._starting.done() and not self._starting.exception():
            _kill(self._starting.result(), number)

    async def close(self) -> None:
        self._lose("the executor is closed")
        with suppress(OSError):
            process = await self._starting
            _kill(process, signal.SIGKILL)
            await process.wait()

    def _hear(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, LARGEST, 1)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._lose("it has ended")
            return
        said: dict[str, Any] = json.loads(message)
        if "ready" in said:
            self.ready = True
        elif "ended" in said:
            self._workers.pop(said["ended"]).end(said["code"])
        else:
            future = self._asked.popleft()
            if "forked" in said:
                worker = self._workers[said["forked"]] = _Forked(said["forked"], descriptors[0])
                future.set_result(worker)
            else:
                future.set_exception(OSError(said["refused"]))

    def _lose(self, why: str) -> None:
        if self.lost:
            return
        self.lost = True
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        for worker in self._workers.values():
            worker.signal(signal.SIGKILL)  # its parent's death does so, too
            worker.end(None)
        self._workers.clear()
        for future in self._asked:
            future.set_exception(OSError(why))


class _Forked:
    """A worker forked from a template."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._code: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    @property
    def ended(self) -> bool:
        return self._code.done()

    def signal(self, number: signal.Signals) -> None:
        if not self.ended:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def wait(self) -> int | None:
        return await asyncio.shield(self._code)

    def end(self, code: int | None) -> None:
        self._code.set_result(code)
        os.close(self._pidfd)


class _Interpreter:
    """A worker in an interpreter of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self._process = process

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    def signal(self, number: signal.Signals) -> None:
        _kill(self._process, number)

    async def wait(self) -> int | None:
        return await self._process.wait()


def _nobodys(future: "asyncio.Future[_Forked]") -> None:
    """End a worker that came when nobody waited for it any more."""
    if not future.exception():
        future.result().signal(signal.SIGKILL)


def _kill(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal; the process' own method may take the exit code away from whoever waits for it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


async def _start(
    module: Sequence[str], line: socket.socket, environment: Mapping[str, str], log: Path
) -> asyncio.subprocess.Process:
    """Start a module of ours with a socket; what it and its libraries print goes to the log."""
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", *module, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, env=environment, pass_fds=[line.fileno()],
        )  # fmt: skip
