"""`evolution`: regularized evolution, where the oldest dies, not the worst (Real et al. 2019, algorithm 1)."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from hilnas.options import Options
from hilnas.strategies.base import Problem, Strategy
from hilnas.strategies.common import Novelty, fitness, random_state
from hilnas.trial import Architecture, Proposal, Trial


class EvolutionOptions(Options):
    """Settings of `evolution`; the defaults are those of NAS-Bench-101 (Ying et al. 2019)."""

    population: int = Field(50, ge=2)
    """How many of the latest scored architectures may be parents; as many are drawn at first."""
    tournament: int = Field(10, ge=1)
    """How many are drawn from the population, with replacement; the best of them is the parent."""


class Evolution(Strategy):
    """The winner of a tournament in an ageing population is mutated in one decision."""

    Options = EvolutionOptions

    def __init__(self, problem: Problem, options: EvolutionOptions, seed: int) -> None:
        self.space = problem.space
        self.options = options
        self.generator = np.random.default_rng(seed)
        self.population: deque[tuple[float, Architecture]] = deque(maxlen=options.population)
        self.version = 0
        self._novelty = Novelty(problem.space, self.generator)
        self._drawn = 0

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Mutate a parent; draw while there is none, and until the first population is proposed."""
        state = random_state(self.generator)
        if self._drawn < self.options.population or not self.population:
            self._drawn += 1
            wanted = self.space.sample(self.generator)
        else:
            wanted = self.space.mutate(self.select(), self.generator)
        return Proposal(self._novelty.take(wanted), self.version, random_state=state)

    def select(self) -> Architecture:
        """Return the best of a tournament."""
        drawn = self.generator.integers(len(self.population), size=self.options.tournament)
        return max((self.population[int(place)] for place in drawn), key=lambda member: member[0])[1]

    def observe(self, trials: Sequence[Trial]) -> None:
        """Let scored trials into the population in the order told; the oldest leave it."""
        for trial in trials:
            reward = fitness(trial)
            if reward is not None and np.isfinite(reward):
                self.population.append((reward, trial.architecture))
        self.version += 1
