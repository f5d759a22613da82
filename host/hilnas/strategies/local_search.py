"""`local-search`: hill climbing, a strong baseline (White et al. 2021, "Local search is state of the art").

Several climbs may be under way, so that whoever waits for results has something to propose: the
climb whose incumbent is best goes first, and where all wait, another starts at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import Field

from hilnas.options import Options
from hilnas.spaces import uniform
from hilnas.strategies.base import Problem, Strategy
from hilnas.strategies.common import Novelty, fitness, neighbourhood, random_state
from hilnas.trial import Architecture, Proposal, Trial


class LocalSearchOptions(Options):
    """Settings of `local-search`."""

    starts: int = Field(10, ge=1)
    """Architectures drawn at first; the climb begins at the best of them."""
    improvement: Literal["first", "best"] = "first"
    """Move to the first neighbour that is better, or to the best one when all are known."""


@dataclass
class Climb:
    """Where a climb stands, and what it has still to propose and to learn."""

    incumbent: Architecture | None = None
    reward: float = -np.inf
    queue: list[Architecture] = field(default_factory=list)
    """Neighbours to propose, in random order."""
    waiting: set[Architecture] = field(default_factory=set)
    """Proposed and not observed."""
    better: tuple[float, Architecture] | None = None
    """The best known one that beats the incumbent."""


class LocalSearch(Strategy):
    """Climbs from neighbour to neighbour and starts again at random in a local optimum."""

    Options = LocalSearchOptions

    def __init__(self, problem: Problem, options: LocalSearchOptions, seed: int) -> None:
        self.space = problem.space
        self.options = options
        self.generator = np.random.default_rng(seed)
        self.climbs: list[Climb] = []
        self.rewards: dict[Architecture, float] = {}
        self.version = 0
        self._novelty = Novelty(problem.space, self.generator)
        self._pending: set[Architecture] = set()
        self._started = 0

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Propose a neighbour of the best incumbent that has one left, or else start a climb."""
        state = random_state(self.generator)
        ready = [climb for climb in self.climbs if climb.queue]
        if ready and self._started >= self.options.starts:
            wanted = max(ready, key=lambda climb: climb.reward).queue[-1]
            architecture = self._novelty.take(wanted)
        else:
            self._started += 1
            architecture = self._novelty.take(self.space.sample(self.generator))
            self.climbs.append(Climb(waiting={architecture}))
        self._pending.add(architecture)
        for climb in self.climbs:
            if architecture in climb.queue:
                climb.queue.remove(architecture)
                climb.waiting.add(architecture)
        return Proposal(architecture, self.version, random_state=state)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Move the climbs that were waiting for these trials, and end those in a local optimum."""
        for trial in trials:
            architecture, reward = trial.architecture, fitness(trial)
            self._pending.discard(architecture)
            if reward is not None:
                self.rewards[architecture] = reward
            for climb in self.climbs:
                if architecture in climb.waiting:
                    climb.waiting.remove(architecture)
                    self._consider(climb, architecture)
                    self._settle(climb)
        self.climbs = [climb for climb in self.climbs if climb.queue or climb.waiting]
        self.version += 1

    def _consider(self, climb: Climb, architecture: Architecture) -> None:
        reward = self.rewards.get(architecture, -np.inf)
        bar = climb.better[0] if climb.better is not None else climb.reward
        if reward > bar:
            climb.better = (reward, architecture)

    def _settle(self, climb: Climb) -> None:
        """Move while there is something better and the kind of improvement does not ask to wait."""
        while climb.better is not None:
            if self.options.improvement == "best" and (climb.queue or climb.waiting):
                return
            climb.reward, climb.incumbent = climb.better
            climb.better = None
            around = neighbourhood(self.space, climb.incumbent, uniform(self.generator))
            climb.waiting.update(neighbour for neighbour in around if neighbour in self._pending)
            fresh = [neighbour for neighbour in around if neighbour not in self._novelty]
            climb.queue = [fresh[int(place)] for place in self.generator.permutation(len(fresh))]
            for neighbour in around:
                self._consider(climb, neighbour)
