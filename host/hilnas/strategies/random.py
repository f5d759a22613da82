"""`random`: every live decision drawn uniformly. The baseline that any strategy must beat."""

import json
import math
from collections.abc import Sequence

import numpy as np

from hilnas.options import Options
from hilnas.strategies.base import Problem, Strategy
from hilnas.trial import Architecture, Proposal, Trial


class RandomOptions(Options):
    """`random` has no settings."""


class Random(Strategy):
    """Uniform over live decisions, without repeating itself while the space has more to give."""

    Options = RandomOptions

    def __init__(self, problem: Problem, options: RandomOptions, seed: int) -> None:
        self.space = problem.space
        self.generator = np.random.default_rng(seed)
        self._proposed: set[Architecture] = set()

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Draw a new architecture."""
        state = json.dumps(self.generator.bit_generator.state)
        for _ in range(100):
            architecture = self.space.sample(self.generator)
            if architecture not in self._proposed:
                break
        self._proposed.add(architecture)
        choices = {decision.name: len(decision.choices) for decision in self.space.decisions}
        log_probabilities = tuple(-math.log(choices[name]) for name, _ in architecture.decisions)
        return Proposal(architecture, 0, log_probabilities, state)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Learn nothing."""
