"""Where to look for the next architecture: around the best ones, and anywhere."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hilnas.predictors.encodings import Encoder, Rows
from hilnas.strategies.common import architectures

_LISTED = 50_000
"""Spaces with constraints are listed up to this size."""
_ONCE = 300
_TWICE = 200
_ANYWHERE = 100


class Candidates(Protocol):
    """Finds rows worth a look."""

    def near(self, best: Rows, generator: np.random.Generator) -> Rows:
        """Return rows around the `best`, which come best first."""

    def anywhere(self, generator: np.random.Generator) -> Rows:
        """Return rows from all over the space."""


def candidates_of(encoder: Encoder) -> Candidates:
    """Return what suits a space."""
    if encoder.space.is_free:
        return _Free(encoder)
    return _Listed(encoder) if encoder.space.size <= _LISTED else _Walked(encoder)


class _Free:
    """Any choice goes with any other: rows are changed and drawn many at a time."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def near(self, best: Rows, generator: np.random.Generator) -> Rows:
        """Return all single changes of the best, and some double ones."""
        encoder = self._encoder
        once = encoder.single_changes(best, generator)
        if len(once) > _ONCE:
            once = once[np.sort(generator.choice(len(once), _ONCE, replace=False))]
        parents = best[generator.integers(len(best), size=_TWICE)]
        twice = encoder.changed(encoder.changed(parents, generator), generator)
        return np.concatenate([once, twice])

    def anywhere(self, generator: np.random.Generator) -> Rows:
        """Draw uniformly."""
        return self._encoder.draw(_ANYWHERE, generator)


class _Listed:
    """Not every combination is open, but all that are can be listed."""

    def __init__(self, encoder: Encoder) -> None:
        self._rows = encoder.encode(list(architectures(encoder.space)))

    def near(self, best: Rows, generator: np.random.Generator) -> Rows:
        """Return the rows that differ least from the best."""
        apart = np.min([(self._rows != row).sum(1) for row in best], axis=0)
        order = np.argsort(apart + generator.random(len(apart)), kind="stable")
        nearest: Rows = self._rows[order[: _ONCE + _TWICE]]
        return nearest

    def anywhere(self, generator: np.random.Generator) -> Rows:
        """Draw uniformly."""
        drawn: Rows = self._rows[generator.integers(len(self._rows), size=_ANYWHERE)]
        return drawn


class _Walked:
    """Not every combination is open, and there are too many: the space itself changes and draws."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def near(self, best: Rows, generator: np.random.Generator) -> Rows:
        """Return single and double changes of the best."""
        space, found = self._encoder.space, []
        for _ in range((_ONCE + _TWICE) // 4):
            parent = self._encoder.decode(best[int(generator.integers(len(best)))])
            once = space.mutate(parent, generator)
            found += [once, space.mutate(once, generator)]
        return self._encoder.encode(found)

    def anywhere(self, generator: np.random.Generator) -> Rows:
        """Draw uniformly."""
        return self._encoder.encode([self._encoder.space.sample(generator) for _ in range(_ANYWHERE)])


def unique(rows: Rows, known: set[bytes]) -> Rows:
    """Return rows [N, L], each once and in order, without those whose bytes are `known`."""
    seen = set(known)
    kept: list[NDArray[np.int64]] = []
    for row in rows:
        key = row.tobytes()
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return np.array(kept, np.int64).reshape(-1, rows.shape[1])
