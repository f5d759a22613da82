"""Where to look for the next architecture: around the best ones, and anywhere."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hilnas.predictors.encodings import Encoder, Rows
from hilnas.spaces import uniform
from hilnas.strategies.common import architectures

_LISTED = 50_000
"""Spaces with constraints are listed up to this size."""
_ONCE = 300
_TWICE = 200
_CROSSED = 150
_ANYWHERE = 100


class Candidates(Protocol):
    """Finds rows worth a look."""

    def near(self, best: Rows, generator: np.random.Generator) -> Rows:
        """Return rows around the `best`, which come best first."""

    def between(self, best: Rows, generator: np.random.Generator) -> Rows:
        """Return rows that take each decision from either of two of the `best`."""

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

    def between(self, best: Rows, generator: np.random.Generator) -> Rows:
        """Cross pairs of the best; what wakes is drawn."""
        return self._encoder.settle(_crossed(best, generator), generator)

    def anywhere(self, generator: np.random.Generator) -> Rows:
        """Draw uniformly."""
        return self._encoder.draw(_ANYWHERE, generator)


class _Listed:
    """Not every combination is open, but all that are can be listed."""

    def __init__(self, encoder: Encoder) -> None:
        self._rows = encoder.encode(list(architectures(encoder.space)))
        self._known = {row.tobytes() for row in self._rows}

    def near(self, best: Rows, generator: np.random.Generator) -> Rows:
        """Return the rows that differ least from the best."""
        apart = np.min([(self._rows != row).sum(1) for row in best], axis=0)
        order = np.argsort(apart + generator.random(len(apart)), kind="stable")
        nearest: Rows = self._rows[order[: _ONCE + _TWICE]]
        return nearest

    def between(self, best: Rows, generator: np.random.Generator) -> Rows:
        """Cross pairs of the best, where that is open."""
        crossed = _crossed(best, generator)
        listed: Rows = crossed[[row.tobytes() in self._known for row in crossed]]
        return listed

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

    def between(self, best: Rows, generator: np.random.Generator) -> Rows:
        """Cross pairs of the best; what is not open then is drawn anew."""
        space, found, pick = self._encoder.space, [], uniform(generator)
        for _ in range(_CROSSED // 4):
            first, second = (
                dict(self._encoder.decode(best[int(i)]).decisions)
                for i in generator.integers(len(best), size=2)
            )
            wanted = {**first, **{name: v for name, v in second.items() if generator.random() < 0.5}}
            found.append(space.complete(wanted, pick))
        return self._encoder.encode(found)

    def anywhere(self, generator: np.random.Generator) -> Rows:
        """Draw uniformly."""
        return self._encoder.encode([self._encoder.space.sample(generator) for _ in range(_ANYWHERE)])


def _crossed(best: Rows, generator: np.random.Generator) -> Rows:
    """Return rows [N, L] that take each column from either of two of the best."""
    first, second = best[generator.integers(len(best), size=(2, _CROSSED))]
    crossed: Rows = np.where(generator.random(first.shape) < 0.5, first, second)
    return crossed


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
