"""`local`: worker processes on this machine, each of which takes one function at a time."""

import asyncio
import heapq
import itertools
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from hilnas.executors.base import WorkerDiedError
from hilnas.executors.checkpoint import Checkpoint
from hilnas.executors.gpus import own_gpu, visible_gpus
from hilnas.executors.inside import Told
from hilnas.executors.processes import Forge
from hilnas.executors.worker import Worker
from hilnas.options import Options

T = TypeVar("T")

_PRELOAD = [
    "torch",
    "torch._dynamo",  # which the first optimizer imports
    "ai_edge_litert.interpreter",
    "hilnas.search.work",
    "hilnas.estimators.train",
]
"""What trials need, by name: an import from here would run against the house's arrows."""


class LocalOptions(Options):
    """Settings of `local`."""

    workers: int = Field(0, ge=0)
    """Worker processes; 0 for one each core this process may use."""
    threads: int = Field(1, ge=1)
    """Threads of each worker's numerical libraries."""
    retries: int = Field(2, ge=0)
    """How often work is tried again whose worker died."""
    preload: list[str] = Field(default=_PRELOAD)
    """Modules that are imported once, for all workers: each is then there in milliseconds. None for fresh interpreters."""


class LocalProcesses:
    """A pool of processes whose loss costs only the work at hand, which is tried again."""

    Options = LocalOptions

    def __init__(self, options: LocalOptions, log_folder: Path) -> None:
        self.options = options
        self.log = log_folder / "workers.log"
        self._going = asyncio.Event()
        self._going.set()
        self._closed = False
        self._forge = Forge(options.preload, _environment(options.threads), self.log)
        gpus = visible_gpus()
        self._all = [
            Worker(self._forge, own_gpu(gpus, number), self.log, self._going) for number in range(self.slots)
        ]
        self._free = list(self._all)
        self._waiting: list[tuple[int, int, asyncio.Future[Worker]]] = []
        self._order = itertools.count()
        self._forge.warm_up()

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
        self._forge.hold()
        for worker in self._all:
            worker.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the workers go on."""
        for worker in self._all:  # also one that became free while it stood still
            worker.signal(signal.SIGCONT)
        self._forge.release()
        self._going.set()

    async def close(self) -> None:
        """Kill every worker."""
        self._closed = True
        await asyncio.gather(*(worker.kill() for worker in self._all))
        await self._forge.close()

    async def _acquire(self, urgent: bool) -> Worker:
        if self._free:
            worker = self._free.pop()
        else:
            future: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (0 if urgent else 1, next(self._order), future))
            try:
                worker = await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._hand_on(future.result())
                raise
        return worker

    def _hand_on(self, worker: Worker) -> None:
        while self._waiting:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(worker)
                return
        self._free.append(worker)


def _environment(threads: int) -> dict[str, str]:
    # Threads that spin while they wait for each other gain a fifth on a quiet machine, and lose
    # most of their time on one that has anything else to do.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "OMP_NUM_THREADS": str(threads)}
    environment.pop("HILNAS_TOKEN", None)
    return environment
