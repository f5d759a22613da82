"""`generative`: a distribution over architectures, fitted to the best of them: the cross-entropy method.

Autoregressive: each live decision is drawn given its parent, or else the top-level decision before it.
Fitted by maximum likelihood to the top quantile (Rubinstein & Kroese 2004, algorithm 2.1), with
pseudo-counts and a uniform share, so that no choice dies out.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hilnas.options import Options
from hilnas.spaces import Decision, Space
from hilnas.strategies.base import Problem, Strategy
from hilnas.strategies.common import Novelty, fitness, random_state
from hilnas.trial import Architecture, Choice, Proposal, Trial

_ATTEMPTS = 100


class GenerativeOptions(Options):
    """Settings of `generative`."""

    startup: int = Field(20, ge=1)
    """Trials to learn from before the first fit: until then all is uniform."""
    quantile: float = Field(0.1, gt=0, le=1)
    """Share of the trials so far that the distribution is fitted to."""
    elite: int = Field(10, ge=1)
    """How many they are at least."""
    smoothing: float = Field(1.0, gt=0)
    """Pseudo-counts of each decision: uniform for its choices, and those for what it is conditioned on."""
    uniform: float = Field(0.05, ge=0, le=1)
    """Share of each decision that stays uniform."""


class Generative(Strategy):
    """Draws from a tabular autoregressive distribution that moves towards the good."""

    Options = GenerativeOptions

    def __init__(self, problem: Problem, options: GenerativeOptions, seed: int) -> None:
        self.options = options
        self.generator = np.random.default_rng(seed)
        self.distribution = Autoregressive(problem.space, options.smoothing, options.uniform)
        self.rewards: dict[Architecture, float] = {}
        self.version = 0
        self._novelty = Novelty(problem.space, self.generator)

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Draw until something is new."""
        for _ in range(_ATTEMPTS):
            state = random_state(self.generator)
            drawn = self.distribution.sample(self.generator)
            if drawn not in self._novelty:
                break
        architecture = self._novelty.take(drawn)
        # What was found another way has no probability to tell.
        logarithms = self.distribution.log_probabilities(drawn) if architecture == drawn else ()
        return Proposal(architecture, self.version, logarithms, state)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Fit to the best of all trials so far. INVALID ones count among them and are never the best."""
        for trial in trials:
            reward = fitness(trial)
            if reward is not None:
                self.rewards[trial.architecture] = reward
        scored = [(reward, a) for a, reward in self.rewards.items() if np.isfinite(reward)]
        if len(self.rewards) < self.options.startup or not scored:
            return
        scored.sort(key=lambda pair: -pair[0])
        count = max(self.options.elite, math.ceil(self.options.quantile * len(self.rewards)))
        self.distribution.fit([a for _, a in scored[:count]])
        self.version += 1


class Autoregressive:
    """Tables of p(choice | decision, context), backed off to p(choice | decision)."""

    def __init__(self, space: Space, smoothing: float, uniform: float) -> None:
        self.space = space
        self.smoothing = smoothing
        self.uniform = uniform
        self._contexts = _contexts(space)
        self._counts: dict[tuple[str, Choice | None], NDArray[np.float64]] = {}
        """By decision and value of its context; None for any."""

    def fit(self, elite: Sequence[Architecture]) -> None:
        """Count the choices of `elite`, all else forgotten."""
        self._counts = {}
        decisions = {decision.name: decision for decision in self.space.decisions}
        for architecture in elite:
            for name, value in architecture.decisions:
                choices = decisions[name].choices
                for context in {None, self._context(name, dict(architecture.decisions))}:
                    counts = self._counts.setdefault((name, context), np.zeros(len(choices)))
                    counts[choices.index(value)] += 1

    def probabilities(self, decision: Decision, chosen: Mapping[str, Choice]) -> NDArray[np.float64]:
        """Return the probability of each of `decision.choices`, given the earlier ones; 0 if not allowed."""
        allowed = set(self.space.allowed(decision, chosen))
        mask = np.array([choice in allowed for choice in decision.choices], float)
        zeros = np.zeros(len(decision.choices))
        overall = _smoothed(self._counts.get((decision.name, None), zeros), self.smoothing, mask / mask.sum())
        context = self._counts.get((decision.name, self._context(decision.name, chosen)), zeros)
        fitted = _smoothed(context, self.smoothing, overall) * mask
        mixed: NDArray[np.float64] = (
            1 - self.uniform
        ) * fitted / fitted.sum() + self.uniform * mask / mask.sum()
        return mixed

    def sample(self, generator: np.random.Generator) -> Architecture:
        """Draw the live decisions in order."""
        chosen: dict[str, Choice] = {}
        while (decision := self.space.next_decision(chosen)) is not None:
            probabilities = self.probabilities(decision, chosen)
            chosen[decision.name] = decision.choices[
                int(generator.choice(len(probabilities), p=probabilities))
            ]
        return self.space.architecture(chosen)

    def log_probabilities(self, architecture: Architecture) -> tuple[float, ...]:
        """Return the natural logarithm of each live decision's probability."""
        decisions = {decision.name: decision for decision in self.space.decisions}
        chosen: dict[str, Choice] = {}
        logarithms: list[float] = []
        for name, value in architecture.decisions:
            probabilities = self.probabilities(decisions[name], chosen)
            logarithms.append(math.log(probabilities[decisions[name].choices.index(value)]))
            chosen[name] = value
        return tuple(logarithms)

    def _context(self, name: str, chosen: Mapping[str, Choice]) -> Choice | None:
        context = self._contexts[name]
        return chosen.get(context) if context is not None else None


def _contexts(space: Space) -> dict[str, str | None]:
    """Return what each decision is conditioned on: its parent, or the top-level decision before it."""
    contexts: dict[str, str | None] = {}
    before: str | None = None
    for decision in space.decisions:
        contexts[decision.name] = decision.parent if decision.parent is not None else before
        if decision.parent is None:
            before = decision.name
    return contexts


def _smoothed(
    counts: NDArray[np.float64], strength: float, prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return frequencies pulled towards `prior` by as much as `strength` observations."""
    smoothed: NDArray[np.float64] = (counts + strength * prior) / (counts.sum() + strength)
    return smoothed
