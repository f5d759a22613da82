"""`multi-objective-evolution`: NSGA-II (Deb et al. 2002) over the objectives, for a front rather than one net.

Steady state (Durillo et al. 2009): each scored trial enters the population at once and the worst
leaves it, so nobody waits for a generation. A single objective is its reward.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from hilnas.options import Options
from hilnas.spaces import uniform
from hilnas.strategies.base import Problem, Strategy
from hilnas.strategies.common import Novelty, random_state, to_minimise
from hilnas.strategies.nondominated import crowded_order
from hilnas.trial import Architecture, Choice, Proposal, Trial, TrialStatus


class MultiObjectiveEvolutionOptions(Options):
    """Settings of `multi-objective-evolution`; the probabilities are those of the paper."""

    population: int = Field(50, ge=2)
    """How many scored architectures are kept; as many are drawn at first."""
    crossover: float = Field(0.9, ge=0, le=1)
    """Probability that a child has two parents."""
    mutation: float | None = Field(None, ge=0, le=1)
    """Probability that a decision is drawn anew; one over the number of decisions when left out."""


class MultiObjectiveEvolution(Strategy):
    """Binary tournaments by front and crowding, uniform crossover, mutation."""

    Options = MultiObjectiveEvolutionOptions

    def __init__(self, problem: Problem, options: MultiObjectiveEvolutionOptions, seed: int) -> None:
        self.space = problem.space
        self.objectives = problem.objectives
        self.options = options
        self.generator = np.random.default_rng(seed)
        self.population: list[tuple[tuple[float, ...], Architecture]] = []
        """Losses and architecture, best first."""
        self.version = 0
        self._novelty = Novelty(problem.space, self.generator)
        self._drawn = 0

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Breed a child; draw while there is no parent, and until the first population is proposed."""
        state = random_state(self.generator)
        if self._drawn < self.options.population or not self.population:
            self._drawn += 1
            wanted = self.space.sample(self.generator)
        else:
            first = second = self.select()
            if self.generator.random() < self.options.crossover:
                second = self.select()
            wanted = self.breed(first, second)
        return Proposal(self._novelty.take(wanted), self.version, random_state=state)

    def select(self) -> Architecture:
        """Return the better of two of the population."""
        places = self.generator.integers(len(self.population), size=2)
        return self.population[int(places.min())][1]

    def breed(self, first: Architecture, second: Architecture) -> Architecture:
        """Return a child that takes each decision from either parent that has it, or draws it anew."""
        rate = self.options.mutation
        if rate is None:
            rate = 1 / max(1, len(first.decisions))
        wanted: dict[str, Choice] = {}
        for decision in self.space.decisions:
            genes = [value for parent in (first, second) if (value := parent.get(decision.name)) is not None]
            inherits = self.generator.random() >= rate
            if genes and inherits:
                wanted[decision.name] = genes[int(self.generator.integers(len(genes)))]
        return self.space.complete(wanted, uniform(self.generator))

    def observe(self, trials: Sequence[Trial]) -> None:
        """Let scored trials into the population; the most dominated and crowded ones leave it."""
        for trial in trials:
            if trial.status is not TrialStatus.SCORED:
                continue
            members = [*self.population, (to_minimise(self.objectives, trial), trial.architecture)]
            order = crowded_order(np.array([member[0] for member in members]))
            self.population = [members[int(place)] for place in order][: self.options.population]
        self.version += 1
