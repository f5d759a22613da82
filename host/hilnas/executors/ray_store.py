"""Arguments on their way to nodes: large ones are put into Ray's object store once, however often they are used."""

import hashlib
import pickle
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

LARGE = 256 << 10
"""Bytes from which an argument goes through the store."""
_KEPT = 16


class Arguments:
    """Knows what is in the store already, by content; the least used go. Any thread may ask."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._refs: OrderedDict[str, Any] = OrderedDict()
        self._one_at_a_time = threading.Lock()
        self.puts = 0
        """How often anything was put."""

    def prepare(self, arguments: Iterable[Any]) -> tuple[list[int | bytes], list[Any]]:
        """Return pickled arguments, or for large ones their places in the second list, of references."""
        order: list[int | bytes] = []
        large: list[Any] = []
        for argument in arguments:
            content = pickle.dumps(argument)
            if len(content) < LARGE:
                order.append(content)
            else:
                order.append(len(large))
                large.append(self._put(content))
        return order, large

    def forget(self) -> None:
        """Put everything anew from now on: some of it was lost."""
        self._refs.clear()

    def _put(self, content: bytes) -> Any:
        digest = hashlib.sha256(content).hexdigest()
        with self._one_at_a_time:
            if digest not in self._refs:
                self.puts += 1
                self._refs[digest] = self._ray.put(content)
            self._refs.move_to_end(digest)
            if len(self._refs) > _KEPT:
                self._refs.popitem(last=False)
            return self._refs[digest]
