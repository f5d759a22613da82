"""Who gets which worker next: urgent work first, and some work only when nothing else runs."""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

W = TypeVar("W")

_ALONE, _URGENT, _OTHER = range(3)
"""Work that must be alone goes first: else it would wait for ever."""


class Places(Generic[W]):
    """Hands out workers. Belongs to one event loop."""

    def __init__(self, workers: Iterable[W], may_start: Callable[[], bool]) -> None:
        self._free = list(workers)
        self._may_start = may_start
        self._waiting: list[tuple[int, int, asyncio.Future[W]]] = []
        self._order = itertools.count()
        self.busy = 0
        """Workers at work."""
        self._alone = False

    async def take(self, urgent: bool = False, alone: bool = False) -> W:
        """Return a worker, once there is one and, unless nothing else runs, `may_start` allows it."""
        future: asyncio.Future[W] = asyncio.get_running_loop().create_future()
        rank = _ALONE if alone else _URGENT if urgent else _OTHER
        heapq.heappush(self._waiting, (rank, next(self._order), future))
        self.fill()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.give_back(future.result())
            raise

    def give_back(self, worker: W) -> None:
        """Say that a worker's work is done."""
        self._free.append(worker)
        self.busy -= 1
        self._alone = False
        self.fill()

    def fill(self) -> None:
        """Hand out what can be."""
        while self._waiting and self._free and not self._alone:
            rank, _, future = self._waiting[0]
            if not future.done():
                if self.busy and (rank == _ALONE or not self._may_start()):
                    return
                self.busy += 1
                self._alone = rank == _ALONE
                future.set_result(self._free.pop())
            heapq.heappop(self._waiting)
