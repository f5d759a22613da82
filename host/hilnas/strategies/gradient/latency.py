"""The latency that a distribution of nets is expected to have, by a device's latency table.

Decisions are independent, so the expectation is exact: a sum over the places of a net's parts, of the table's
entries weighted by the probability of the choices that put them there (Cai et al. 2019, eq. 2; Wu et al. 2019,
eq. 3). It is differentiable in the probabilities.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import torch

from hilnas.spaces import Space


@dataclass(frozen=True)
class _Place:
    decisions: tuple[str, ...]
    table_ms: torch.Tensor
    """Latency of what stands there, an axis a decision; 0 where nothing does."""


class ExpectedLatency:
    """Expected latency in ms, as a function of the probabilities of choices."""

    def __init__(
        self, space: Space, latency_ms: Callable[[str], float], slope: float = 1.0, intercept_ms: float = 0.0
    ):
        """`latency_ms` tells that of a part by its key; a net takes `slope` times the sum and `intercept_ms`."""
        choices = {decision.name: decision.choices for decision in space.decisions}
        self.slope, self.intercept_ms = slope, intercept_ms
        self._places: list[_Place] = []
        for factor in space.part_factors():
            shape = [len(choices[name]) for name in factor.decisions]
            entries = [
                latency_ms(key) if (key := factor.key(values)) is not None else 0.0
                for values in product(*(choices[name] for name in factor.decisions))
            ]
            self._places.append(_Place(factor.decisions, torch.tensor(entries).reshape(shape)))

    def __call__(self, probabilities: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the expectation [], with gradients."""
        device = next(iter(probabilities.values())).device
        total = torch.zeros((), device=device)
        for place in self._places:
            weighted = place.table_ms.to(device)
            for name in reversed(place.decisions):
                weighted = weighted @ probabilities[name]
            total = total + weighted
        return self.slope * total + self.intercept_ms
