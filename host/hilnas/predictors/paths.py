"""The path encoding of cells (BANANAS, White et al. 2021, section 3.1): which chains of operations there are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilnas.predictors.encodings import Rows

Edge = tuple[int, int]
"""From one node of a cell to another."""


class PathEncoding:
    """For cells whose decisions are the operations on the edges of a directed acyclic graph.

    A feature is a sequence of operations that may lead from the graph's source to its sink: 1 where the
    cell has a path of it. `absent` is the index of the operation that takes an edge away. Features go by
    length, then in the operations' order; `kept` are the first (the paper's truncation), all if None.
    """

    def __init__(
        self, edges: Sequence[Edge], operations: int, absent: int | None = None, kept: int | None = None
    ) -> None:
        self.operations = operations
        self.absent = absent
        self.paths = _paths(edges)
        """Each path from source to sink as its edges' columns, the shortest first."""
        lengths = sorted({len(path) for path in self.paths})
        counts = [operations**length for length in lengths]
        self._starts = dict(zip(lengths, [0, *np.cumsum(counts).tolist()], strict=False))
        self.width = sum(counts) if kept is None else min(kept, sum(counts))
        """Number of features."""

    def encode(self, rows: Rows) -> NDArray[np.float64]:
        """Return zeros and ones [N, width] for rows of operation indices [N, edges]."""
        if rows.size and not (rows.min() >= 0 and rows.max() < self.operations):
            raise ValueError(f"operations are indices from 0 to {self.operations - 1}, not {rows.max()}")
        encoded = np.zeros((len(rows), self.width))
        for path in self.paths:
            place = np.zeros(len(rows), np.int64)
            for column in path:
                place = place * self.operations + rows[:, column]
            place += self._starts[len(path)]
            there = place < self.width
            if self.absent is not None:
                there &= (rows[:, path] != self.absent).all(1)
            encoded[np.flatnonzero(there), place[there]] = 1.0
        return encoded


def _paths(edges: Sequence[Edge]) -> list[list[int]]:
    """Return every path from source to sink as its edges' columns; ValueError for what is no such graph."""
    sources = {start for start, _ in edges} - {end for _, end in edges}
    sinks = {end for _, end in edges} - {start for start, _ in edges}
    if len(sources) != 1 or len(sinks) != 1:
        raise ValueError(f"a cell has one source and one sink, these edges have {sources} and {sinks}")
    (sink,) = sinks
    found: list[list[int]] = []
    open_paths: list[tuple[int, list[int]]] = [(sources.pop(), [])]
    while open_paths:
        node, path = open_paths.pop()
        if node == sink:
            found.append(path)
        if len(path) > len(edges):
            raise ValueError("the edges go in a circle: a cell is a directed acyclic graph")
        open_paths += [(end, [*path, column]) for column, (start, end) in enumerate(edges) if start == node]
    return sorted(found, key=lambda path: (len(path), path))
