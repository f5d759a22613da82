"""`local`: worker processes on this machine, each a fresh Python that takes one function at a time."""

import asyncio
import heapq
import itertools
import os
import pickle
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from hilnas.executors.base import WorkerDiedError
from hilnas.executors.checkpoint import Checkpoint
from hilnas.executors.inside import Told
from hilnas.executors.local_worker import PROGRESS, RAISED, SAVED
from hilnas.options import Options

T = TypeVar("T")


class LocalOptions(Options):
    """Settings of `local`."""

    workers: int = Field(0, ge=0)
    """Worker processes; 0 for one each core this process may use."""
    threads: int = Field(1, ge=1)
    """Threads of each worker's numerical libraries."""
    retries: int = Field(2, ge=0)
    """How often work is tried again whose worker died."""


class LocalProcesses:
    """A pool of processes whose loss costs only the work at hand, which is tried again."""

    Options = LocalOptions

    def __init__(self, options: LocalOptions, log_folder: Path) -> None:
        self.options = options
        self.log = log_folder / "workers.log"
        self._going = asyncio.Event()
        self._going.set()
        self._closed = False
        self._all = [_Worker(options.threads, self.log, self._going) for _ in range(self.slots)]
        self._free = list(self._all)
        self._waiting: list[tuple[int, int, asyncio.Future[_Worker]]] = []
        self._order = itertools.count()

    @property
    def slots(self) -> int:
        """Number of workers."""
        return self.options.workers or len(os.sched_getaffinity(0))

    async def run(
        self,
        function: Callable[..., T],
        *arguments: Any,
        urgent: bool = False,
        told: Told | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> T:
        """Run in the next free worker; see `Executor.run`."""
        payload = pickle.dumps((function, arguments))
        for remaining in range(self.options.retries, -1, -1):
            worker = await self._acquire(urgent)
            try:
                if self._closed:
                    raise asyncio.CancelledError("the executor is closed")
                return await worker.call(payload, told, checkpoint)  # type: ignore[no-any-return]
            except WorkerDiedError as error:
                if remaining == 0:
                    raise WorkerDiedError(f"{error}; {self.options.retries + 1} tries") from None
            finally:
                self._hand_on(worker)
        raise AssertionError("unreachable")

    def pause(self) -> None:
        """Stop every worker where it is; no new work begins."""
        self._going.clear()
        for worker in self._all:
            worker.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the workers go on."""
        for worker in self._all:  # also one that became free while it stood still
            worker.signal(signal.SIGCONT)
        self._going.set()

    async def close(self) -> None:
        """Kill every worker."""
        self._closed = True
        await asyncio.gather(*(worker.kill() for worker in self._all))

    async def _acquire(self, urgent: bool) -> "_Worker":
        if self._free:
            worker = self._free.pop()
        else:
            future: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (0 if urgent else 1, next(self._order), future))
            try:
                worker = await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._hand_on(future.result())
                raise
        return worker

    def _hand_on(self, worker: "_Worker") -> None:
        while self._waiting:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(worker)
                return
        self._free.append(worker)


class _Worker:
    """One process, started when first needed and again after it was lost."""

    def __init__(self, threads: int, log: Path, going: asyncio.Event) -> None:
        self.threads = threads
        self.going = going
        self.log = log
        self.process: asyncio.subprocess.Process | None = None

    async def call(self, payload: bytes, told: Told | None, checkpoint: Checkpoint | None) -> Any:
        kept = None if checkpoint is None else await asyncio.to_thread(checkpoint.load)
        process = await self._started()
        await self.going.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for part in (payload, pickle.dumps(kept)):
                process.stdin.write(struct.pack("<Q", len(part)) + part)
                await process.stdin.drain()
            kind, value = await _answer(process.stdout)
            while kind in (PROGRESS, SAVED):
                if kind == PROGRESS and told is not None:
                    told(value)
                if kind == SAVED and checkpoint is not None:
                    await asyncio.to_thread(checkpoint.save, value)
                kind, value = await _answer(process.stdout)
        except (asyncio.IncompleteReadError, ConnectionError):
            code = await process.wait()
            self.process = None
            raise WorkerDiedError(f"a worker process {_end(code)}; see {self.log}") from None
        except BaseException:
            await self.kill()  # cancelled half-way: what it would still say belongs to nobody
            raise
        if kind == RAISED:
            raise value
        return value

    async def _started(self) -> asyncio.subprocess.Process:
        if self.process is None or self.process.returncode is not None:
            # Threads that spin while they wait for each other gain a fifth on a quiet machine, and lose
            # most of their time on one that has anything else to do.
            environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "OMP_NUM_THREADS": str(self.threads)}
            environment.pop("HILNAS_TOKEN", None)
            with self.log.open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "hilnas.executors.local_worker", str(os.getpid()),
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                    start_new_session=True, env=environment, limit=2**20,
                )  # fmt: skip
        return self.process

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)

    async def kill(self) -> None:
        process, self.process = self.process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


async def _answer(stream: asyncio.StreamReader) -> tuple[str, Any]:
    (length,) = struct.unpack("<Q", await stream.readexactly(8))
    kind, value = pickle.loads(await stream.readexactly(length))  # nosec B301 # noqa: S301 - from our own child
    return kind, value


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
