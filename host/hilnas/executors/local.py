"""`local`: worker processes on this machine, each of which takes one function at a time."""

import asyncio
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from hilnas.executors.base import OutOfMemoryError, WorkerDiedError
from hilnas.executors.checkpoint import Checkpoint
from hilnas.executors.gpus import own_gpu, visible_gpus
from hilnas.executors.inside import Told
from hilnas.executors.places import Places
from hilnas.executors.processes import Forge
from hilnas.executors.watch import Watch
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

_REMEDY = "Give it a smaller batch or less data, smaller candidates, or a machine with more memory"


class LocalOptions(Options):
    """Settings of `local`."""

    workers: int = Field(0, ge=0)
    """Worker processes; 0 for one each core this process may use."""
    threads: int = Field(1, ge=1)
    """Threads of each worker's numerical libraries."""
    retries: int = Field(2, ge=0)
    """How often work is tried again whose worker died."""
    memory: float = Field(0.95, gt=0, le=1)
    """Share of the memory, of the machine or of its control group, beyond which no work starts and the worker that
    has grown most is ended."""
    worker_gib: float | None = Field(None, gt=0)
    """Most memory of one worker; as much as there is when left out."""
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
        self._watch = Watch(self._all, options.memory, options.worker_gib)
        self._places = Places(self._all, self._watch.has_room)
        self._forge.warm_up()

    @property
    def slots(self) -> int:
        """Number of workers."""
        return self.options.workers or len(os.sched_getaffinity(0))

    def threads(self, at_once: int) -> int:
        """Return the workers' share of each."""
        return max(1, self.slots // max(1, at_once))

    async def run(
        self,
        function: Callable[..., T],
        *arguments: Any,
        urgent: bool = False,
        told: Told | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> T:
        """Run in the next free worker; see `Executor.run`.

        Work that took too much memory is tried once more, with nothing else beside it.
        """
        payload = pickle.dumps((function, arguments))
        remaining, alone = self.options.retries, False
        while True:
            worker = await self._places.take(urgent, alone)
            try:
                if self._closed:
                    raise asyncio.CancelledError("the executor is closed")
                self._watch.start(self._places.fill)
                return await worker.call(payload, told, checkpoint)  # type: ignore[no-any-return]
            except OutOfMemoryError as error:
                if alone:
                    raise OutOfMemoryError(f"{error}; also with no other work beside it. {_REMEDY}") from None
                alone = True
            except WorkerDiedError as error:
                if remaining == 0:
                    raise WorkerDiedError(f"{error}; {self.options.retries + 1} tries") from None
                remaining -= 1
            finally:
                self._places.give_back(worker)

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
        await self._watch.close()
        await asyncio.gather(*(worker.kill() for worker in self._all))
        await self._forge.close()


def _environment(threads: int) -> dict[str, str]:
    # Threads that spin while they wait for each other gain a fifth on a quiet machine, and lose
    # most of their time on one that has anything else to do.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "OMP_NUM_THREADS": str(threads)}
    environment.pop("HILNAS_TOKEN", None)
    return environment
