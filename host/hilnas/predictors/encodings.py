"""Architectures as rows of choice indices, and back; changes and draws of many at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilnas.spaces import Space
from hilnas.trial import Architecture, Choice

_MANY = 7
"""Fewer choices than this are learned one by one, numbers or not."""

Rows = NDArray[np.int64]


class Encoder:
    """Between the architectures of a space and rows [N, L] of choice indices, one column a decision.

    A decision that is not live has an index of its own, beyond its choices.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        decisions = space.decisions
        self.choices = [len(decision.choices) for decision in decisions]
        """Number of choices of each decision."""
        self.sizes = [len(d.choices) + (d.parent is not None) for d in decisions]
        """Number of indices of each decision."""
        kinds = list(dict.fromkeys(_kind(decision.choices) for decision in decisions))
        self.groups = [kinds.index(_kind(decision.choices)) for decision in decisions]
        """Number of each decision's set of choices: equal sets have equal numbers."""
        columns = {decision.name: i for i, decision in enumerate(decisions)}
        self._parents = [columns[d.parent] if d.parent is not None else None for d in decisions]
        self._wakes: list[NDArray[np.bool_]] = []
        for decision, parent in zip(decisions, self._parents, strict=True):
            values = decisions[parent].choices if parent is not None else ()
            self._wakes.append(np.array([*(value in decision.when for value in values), False]))
        self._places = {
            d.name: (column, {(type(c), c): i for i, c in enumerate(d.choices)})
            for column, d in enumerate(decisions)
        }

    @property
    def positions(self) -> list[NDArray[np.float64] | None]:
        """Places in [0, 1] of each group's choices, by rank, where they are many numbers; else None."""
        found: list[NDArray[np.float64] | None] = []
        for group in range(max(self.groups) + 1):
            members = [i for i, g in enumerate(self.groups) if g == group]
            choices = self.space.decisions[members[0]].choices
            numbers = all(isinstance(c, int | float) and not isinstance(c, bool) for c in choices)
            if not numbers or len(choices) < _MANY:
                found.append(None)
                continue
            ranks = np.argsort(np.argsort(np.array(choices, float))) / (len(choices) - 1)
            found.append(
                np.append(ranks, 0.0) if any(self.sizes[m] > len(choices) for m in members) else ranks
            )
        return found

    def encode(self, architectures: Sequence[Architecture]) -> Rows:
        """Return rows [N, L]."""
        rows = []
        for architecture in architectures:
            row = self.choices.copy()
            for name, value in architecture.decisions:
                column, places = self._places[name]
                row[column] = places[type(value), value]
            rows.append(row)
        return np.array(rows, np.int64).reshape(-1, len(self.choices))

    def decode(self, row: NDArray[np.int64]) -> Architecture:
        """Return the architecture of one row."""
        taken = zip(self.space.decisions, row.tolist(), strict=True)
        live = tuple((d.name, d.choices[index]) for d, index in taken if index < len(d.choices))
        return Architecture(self.space.name, live)

    def live(self, rows: Rows, column: int) -> NDArray[np.bool_]:
        """Return which rows [N] make a decision, given those before it."""
        parent = self._parents[column]
        if parent is None:
            return np.ones(len(rows), bool)
        woken: NDArray[np.bool_] = self._wakes[column][rows[:, parent]]
        return woken

    def settle(self, rows: Rows, generator: np.random.Generator) -> Rows:
        """Return rows whose decisions are asleep where nothing asks for them, and drawn where they wake."""
        settled = rows.copy()
        for column, choices in enumerate(self.choices):
            if self._parents[column] is None:
                continue
            live = self.live(settled, column)
            waking = live & (settled[:, column] >= choices)
            settled[waking, column] = generator.integers(choices, size=int(waking.sum()))
            settled[~live, column] = choices
        return settled

    def draw(self, count: int, generator: np.random.Generator) -> Rows:
        """Draw rows, each live decision uniformly. Only where the space is free."""
        rows = np.stack([generator.integers(c, size=count) for c in self.choices], axis=1)
        return self.settle(rows, generator)

    def changed(self, rows: Rows, generator: np.random.Generator) -> Rows:
        """Change one live decision of each row; what wakes is drawn. Only where the space is free."""
        choices = np.array(self.choices)
        free = (rows < choices) & (choices > 1)
        columns = np.argmax(free * generator.random(rows.shape), axis=1)
        lines = np.arange(len(rows))
        shift = 1 + np.floor(generator.random(len(rows)) * (choices[columns] - 1)).astype(np.int64)
        result = rows.copy()
        result[lines, columns] = (rows[lines, columns] + shift) % choices[columns]
        return self.settle(np.where(free.any(1)[:, None], result, rows), generator)

    def single_changes(self, rows: Rows, generator: np.random.Generator) -> Rows:
        """Return every change of one live decision of each row; what wakes is drawn. Only where the space is free."""
        changes = []
        for column, choices in enumerate(self.choices):
            live = rows[rows[:, column] < choices]
            for shift in range(1, choices):
                changed = live.copy()
                changed[:, column] = (live[:, column] + shift) % choices
                changes.append(changed)
        return self.settle(np.concatenate([rows[:0], *changes]), generator)


def one_hot(rows: Rows, sizes: Sequence[int]) -> NDArray[np.float64]:
    """Return rows of choice indices [N, L] as zeros and ones [N, sum of sizes].

    An index beyond its size has no one: with `Encoder.choices` as sizes, a decision that is not live is
    all zeros; with `Encoder.sizes` it has a column of its own.
    """
    taken = [rows[:, [column]] == np.arange(size) for column, size in enumerate(sizes)]
    encoded: NDArray[np.float64] = np.concatenate(taken, axis=1).astype(np.float64)
    return encoded


def _kind(choices: tuple[Choice, ...]) -> tuple[tuple[type, Choice], ...]:
    return tuple((type(choice), choice) for choice in choices)
