"""Ranks: which share of a sample of its space an architecture beats."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hilnas.proxies.base import ProxyScore


@dataclass(frozen=True)
class Reference:
    """What proxies said of a sample of architectures."""

    names: tuple[str, ...]
    """Of the proxies."""
    scores: tuple[tuple[float, ...], ...]
    """A row for each architecture, a number for each proxy."""

    @classmethod
    def of(cls, found: Sequence[Mapping[str, ProxyScore]]) -> "Reference":
        """Gather the scores of a sample."""
        names = tuple(found[0])
        return cls(names, tuple(tuple(scores[name].value for name in names) for scores in found))

    def rank(self, scores: Mapping[str, ProxyScore]) -> float:
        """Return the share of the sample that an architecture beats, ties by half; never 0 or 1.

        Of several proxies, the means of their ranks are compared: each has a vote, whatever its scale, as in the
        vote of Abdelfattah et al. (2021), which is by majority.
        """
        return _rank(self._vote([scores[name].value for name in self.names]), self._votes)

    def error(self, rank: float) -> float:
        """Return the standard error of a rank, from the size of the sample."""
        return math.sqrt(rank * (1 - rank) / len(self.scores))

    def to_bytes(self) -> bytes:
        """Return it as JSON."""
        return json.dumps({"names": self.names, "scores": self.scores}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Reference":
        """Read what `to_bytes` wrote."""
        data = json.loads(content)
        return cls(tuple(data["names"]), tuple(tuple(row) for row in data["scores"]))

    @cached_property
    def _votes(self) -> list[float]:
        return [self._vote(row) for row in self.scores]

    def _vote(self, values: Sequence[float]) -> float:
        columns = zip(*self.scores, strict=True)
        ranks = [_rank(value, column) for value, column in zip(values, columns, strict=True)]
        return sum(ranks) / len(ranks)


def _rank(value: float, among: Sequence[float]) -> float:
    """Return the mid-rank of a value among N, between 1 / (2N + 2) and 1 less that."""
    others = np.asarray(among)
    below = float((others < value).sum() + 0.5 * (others == value).sum())
    return (below + 0.5) / (len(others) + 1)
