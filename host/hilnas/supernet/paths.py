"""Which nets of a supernet a training step runs: the paths.

- `sandwich`: the largest, the smallest and some between (Yu & Huang 2019, AutoSlim; Yu et al. 2020, BigNAS).
- `shrinking`: the largest alone at first; then nets that differ from it in ever more kinds of decision
  (Cai et al. 2020, Once-for-All).
- `uniform`: a single one, each live decision drawn uniformly (Guo et al. 2020, SPOS).
- `fair`: as many as the widest decision has choices, so that together they take each choice of each decision
  equally often (Chu et al. 2021, FairNAS: strict fairness).

All follow from seed and step alone, so that a training that goes on needs no random state.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from hilnas.spaces import Space, uniform
from hilnas.trial import Architecture, Choice

Sampling = Literal["sandwich", "shrinking", "uniform", "fair"]

FULL_SHARE = 0.4
"""Share of the steps in which progressive shrinking trains the largest net alone."""


class Paths:
    """The paths of each step of a training of `steps` steps."""

    def __init__(self, space: Space, sampling: Sampling, count: int, steps: int, seed: int) -> None:
        """`count` is the number of nets drawn a step by `sandwich` and `shrinking`."""
        self.space, self.sampling, self.count = space, sampling, count
        self.steps, self.seed = steps, seed
        self.smallest, self.largest = space.extremes()
        self._draw: dict[str, Callable[[int], list[Architecture]]] = {
            "sandwich": self._sandwich,
            "shrinking": self._shrinking,
            "uniform": self._uniform,
            "fair": self._fair,
        }

    def at(self, step: int) -> list[Architecture]:
        """Return the nets of a step, the largest first where it is one of them."""
        return self._draw[self.sampling](step)

    @property
    def starts(self) -> list[int]:
        """First steps of the phases, of which each has a learning rate schedule of its own."""
        if self.sampling != "shrinking":
            return [0]
        groups = len(self._groups)
        first = max(1, round(FULL_SHARE * self.steps))
        return [0, *(first + (self.steps - first) * number // groups for number in range(groups))]

    def phase(self, step: int) -> int:
        """Return the number of the phase that a step is in, from 0."""
        return sum(start <= step for start in self.starts) - 1

    @property
    def _groups(self) -> list[tuple[str, ...]]:
        """Groups of decisions that come free; those that have no choice anyway don't make a phase."""
        open_ = {decision.name for decision in self.space.decisions if len(decision.choices) > 1}
        return [group for group in self.space.shrinking if open_ & set(group)]

    def _generator(self, step: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, step))

    def _sandwich(self, step: int) -> list[Architecture]:
        generator = self._generator(step)
        return [self.largest, self.smallest, *(self.space.sample(generator) for _ in range(self.count))]

    def _shrinking(self, step: int) -> list[Architecture]:
        phase = self.phase(step)
        if phase == 0:
            return [self.largest]
        free = {name for group in self._groups[:phase] for name in group}
        kept = {name: value for name, value in self.largest.decisions if name not in free}
        pick = uniform(self._generator(step))
        return [self.space.complete(kept, pick) for _ in range(self.count)]

    def _uniform(self, step: int) -> list[Architecture]:
        return [self.space.sample(self._generator(step))]

    def _fair(self, step: int) -> list[Architecture]:
        generator = self._generator(step)
        count = max(len(decision.choices) for decision in self.space.decisions)
        turns = {d.name: _turns(d.choices, count, generator) for d in self.space.decisions}
        pick = uniform(generator)
        return [
            self.space.complete({name: turn[number] for name, turn in turns.items()}, pick)
            for number in range(count)
        ]


def _turns(choices: Sequence[Choice], count: int, generator: np.random.Generator) -> list[Choice]:
    """Return `count` choices in random order, each as often as another, but for one that is left over."""
    whole = [choices[i] for _ in range(count // len(choices)) for i in range(len(choices))]
    rest = generator.permutation(len(choices))[: count % len(choices)]
    turns = [*whole, *(choices[i] for i in rest)]
    return [turns[i] for i in generator.permutation(count)]
