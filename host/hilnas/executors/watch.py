"""Sees that local workers do not use up the machine's memory: the one that has grown most is ended in time."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from hilnas.executors.memory import GIB, Memory, memory
from hilnas.executors.worker import Worker

_log = logging.getLogger(__name__)

_EVERY_S = 0.25
_SETTLE_S = 2.0
"""After a worker was ended its memory takes a while to come back."""
_SMALL = 0.01
"""Share of all memory: ending a worker that has grown by less would help nobody."""


class Watch:
    """Looks at all workers a few times a second, while any has work."""

    def __init__(self, workers: Sequence[Worker], most: float, worker_gib: float | None) -> None:
        self._workers = workers
        self._most = most
        self._worker_bytes = worker_gib * GIB if worker_gib is not None else None
        self._task: asyncio.Task[None] | None = None
        self._quiet_until = 0.0

    def start(self, freed: Callable[[], None]) -> None:
        """Look, until no worker has work; `freed` is called while there is memory for more."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(freed), name="memory watch")

    def has_room(self) -> bool:
        """Is there memory for more work?"""
        return memory().share <= self._most

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, freed: Callable[[], None]) -> None:
        while any(worker.busy for worker in self._workers):
            try:
                self._look(freed)
            except OSError as error:  # a watch that cannot see must not end
                _log.warning("memory cannot be watched: %s", error)
            await asyncio.sleep(_EVERY_S)

    def _look(self, freed: Callable[[], None]) -> None:
        if self._worker_bytes is not None:
            for worker in self._workers:
                if worker.memory() > self._worker_bytes:
                    _end(worker, f"more than executor.worker_gib ({self._worker_bytes / GIB:g})")
        now = memory()
        if now.share <= self._most:
            freed()
        elif time.monotonic() > self._quiet_until:
            grown = max(self._workers, key=Worker.grown)
            if grown.grown() >= _SMALL * now.total:
                self._quiet_until = time.monotonic() + _SETTLE_S
                _end(grown, _full(now))


def _full(now: Memory) -> str:
    return f"when {now.used / GIB:.1f} of {now.total / GIB:.1f} GiB were in use"


def _end(worker: Worker, why: str) -> None:
    told = f"had come to {worker.memory() / GIB:.2f} GiB, {why}"
    _log.warning("a worker process %s, and was ended", told)
    worker.end_for_memory(told)
