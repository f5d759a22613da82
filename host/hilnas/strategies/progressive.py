"""`progressive`: from simple to complex, led by a predictor (PNAS, Liu et al. 2018, algorithm 1).

The simplest architecture takes every decision's first choice. Each level frees one more top-level
decision with all that depends on it: the beam's expansions are ranked by Bayesian ridge regression,
which fits in milliseconds where the paper's networks take a second, and the best are measured. When all is free, mutants of the best are ranked and measured likewise.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from hilnas.options import Options
from hilnas.predictors.base import Floats
from hilnas.predictors.encodings import Encoder, one_hot
from hilnas.predictors.ridge import BayesianRidge
from hilnas.spaces import Space, uniform
from hilnas.strategies.base import Problem, Strategy
from hilnas.strategies.common import Novelty, fitness, random_state
from hilnas.trial import Architecture, Choice, Proposal, Trial

_LEAST = 8
"""Scored trials before the predictor is asked; until then the order is random."""


class ProgressiveOptions(Options):
    """Settings of `progressive`. The paper's beam is 256, for searches of thousands of trials."""

    beam: int = Field(16, ge=1)
    """Architectures that are measured at each level, and expanded to the next (K of the paper)."""
    expansions: int = Field(64, ge=1)
    """Candidates drawn from each of them where a level has dependent decisions."""


class Progressive(Strategy):
    """Frees the decisions level by level and measures what a predictor ranks highest."""

    Options = ProgressiveOptions

    def __init__(self, problem: Problem, options: ProgressiveOptions, seed: int) -> None:
        self.space = problem.space
        self.options = options
        self.generator = np.random.default_rng(seed)
        self.levels = levels(problem.space)
        self.level = -1
        """Index of the level that is being measured; beyond the last: refinement."""
        self.rewards: dict[Architecture, float] = {}
        self.version = 0
        self._simplest = problem.space.complete({}, _first)
        self._encoder = Encoder(problem.space)
        self._rows: dict[Architecture, NDArray[np.int64]] = {}
        """Of this level's candidates and what is measured: they are ranked anew with every result."""
        self._novelty = Novelty(problem.space, self.generator)
        self._candidates: list[Architecture] = [self._simplest]
        self._open: set[Architecture] = set()
        """Proposed at this level and not observed."""
        self._concluded = 0
        self._ranked = True

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Propose the candidate ranked highest; while results are awaited, the next ones of the level."""
        state = random_state(self.generator)
        if not self._candidates or self._concluded >= self.options.beam:
            self._advance()
        if not self._ranked:
            self._candidates = self._rank(self._candidates)
        wanted = self._candidates.pop(0) if self._candidates else self._simplest
        architecture = self._novelty.take(wanted)
        self._open.add(architecture)
        return Proposal(architecture, self.version, random_state=state)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Note the rewards and count what the level knows."""
        for trial in trials:
            reward = fitness(trial)
            if reward is not None:
                self.rewards[trial.architecture] = reward
            if trial.architecture in self._open:
                self._open.remove(trial.architecture)
                self._concluded += 1
        self._ranked = False
        self.version += 1

    def _advance(self) -> None:
        """Go to the next level that has candidates; refinement is the last and comes again and again."""
        beam = self._beam()
        self._candidates = []
        self._rows.clear()
        while not self._candidates and self.level < len(self.levels) - 1:
            self.level += 1
            self._candidates = self._new(a for parent in beam for a in self._expand(parent))
        if not self._candidates:
            self.level = len(self.levels)
            mutants = [self.space.mutate(beam[n % len(beam)], self.generator) for n in range(self._pool)]
            drawn = [self.space.sample(self.generator) for _ in range(self._pool // 4)]
            self._candidates = self._new([*mutants, *drawn])
        self._open, self._concluded, self._ranked = set(), 0, False

    @property
    def _pool(self) -> int:
        return self.options.beam * self.options.expansions

    def _beam(self) -> list[Architecture]:
        """Return the best so far, or the simplest while nothing is scored."""
        scored = [(reward, a) for a, reward in self.rewards.items() if np.isfinite(reward)]
        scored.sort(key=lambda pair: -pair[0])
        return [a for _, a in scored[: self.options.beam]] or [self._simplest]

    def _expand(self, parent: Architecture) -> Iterable[Architecture]:
        """Yield what the level's decisions can be, the others as in `parent`: all, or as many as are drawn."""
        level = self.levels[self.level]
        kept = {name: value for name, value in parent.decisions if name not in level}
        if len(level) > 1:
            draw = uniform(self.generator)
            return (self.space.complete(kept, draw) for _ in range(self.options.expansions))
        choices = next(d.choices for d in self.space.decisions if d.name == level[0])
        return (self.space.complete({**kept, level[0]: choice}, _first) for choice in choices)

    def _new(self, candidates: Iterable[Architecture]) -> list[Architecture]:
        return [a for a in dict.fromkeys(candidates) if a not in self._novelty]

    def _rank(self, candidates: list[Architecture]) -> list[Architecture]:
        self._ranked = True
        scored = [reward for reward in self.rewards.values() if np.isfinite(reward)]
        if len(scored) < _LEAST:
            return [candidates[int(place)] for place in self.generator.permutation(len(candidates))]
        poor = min(scored) - 0.1 * (max(scored) - min(scored))
        rewards = np.maximum(list(self.rewards.values()), poor)  # INVALID: worse than the worst
        ridge = BayesianRidge()
        with threadpool_limits(1):  # sums over several threads differ in their last bits
            ridge.fit(self._encoded(list(self.rewards)), rewards)
            predicted = self._encoded(candidates) @ ridge.weights  # up to a constant, which no order needs
        return [candidates[int(place)] for place in np.argsort(-predicted, kind="stable")]

    def _encoded(self, architectures: Sequence[Architecture]) -> Floats:
        new = [a for a in architectures if a not in self._rows]
        self._rows.update(zip(new, self._encoder.encode(new), strict=True))
        choices = self._encoder.choices
        rows = np.array([self._rows[a] for a in architectures], np.int64).reshape(-1, len(choices))
        return one_hot(rows, choices)


def levels(space: Space) -> list[tuple[str, ...]]:
    """Return the decisions by level: each top-level one with its dependants, where there is a choice."""
    roots: dict[str, str] = {}
    for decision in space.decisions:  # parents stand before their dependants
        roots[decision.name] = roots[decision.parent] if decision.parent is not None else decision.name
    free = {roots[decision.name] for decision in space.decisions if len(decision.choices) > 1}
    return [
        tuple(name for name, root in roots.items() if root == head)
        for head, root in roots.items()
        if head == root and head in free
    ]


def _first(choices: Sequence[Choice]) -> Choice:
    return choices[0]
