"""`netadapt`: a seed architecture is stepped down until it fits (NetAdapt, Yang et al. 2018, algorithm 1).

In each iteration every decision gives the smallest change that lowers the cost by a step, and the best
of these is kept. Steps are a share of the cost, as for MobileNetV3 (Howard et al. 2019, section 4.2).
Costs are measured: of a decision one change after the other, until one is enough. When all goals
are met, what is best by reward is refined.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from hilnas.options import Options
from hilnas.strategies.base import Problem, Strategy
from hilnas.strategies.common import Novelty, fitness, random_state
from hilnas.strategies.netadapt_changes import Changes, changes_by_decision, seed_architecture
from hilnas.strategies.netadapt_costs import Costs
from hilnas.trial import Architecture, Choice, Proposal, Trial

_LEAST_STEP = 1e-3


class NetAdaptOptions(Options):
    """Settings of `netadapt`."""

    seed_architecture: Path | dict[str, Choice] | None = None
    """Where to start: a JSON file, or decisions by name. The largest choices stand for what is left out."""
    step: float = Field(0.1, gt=0, lt=1)
    """Share of the cost that a change must save at first. MobileNetV3 took 0.01, and thousands of trials."""
    decay: float = Field(0.96, gt=0, le=1)
    """What the step is multiplied by after each iteration."""
    decisions: int = Field(8, ge=1)
    """How many decisions are tried in an iteration, drawn anew each time; further ones if none saves a step."""
    pick: Literal["accuracy", "ratio"] = "accuracy"
    """Keep the most accurate candidate, or the one that loses the least accuracy for what it saves."""


class NetAdapt(Strategy):
    """Shrinks a large architecture, one decision at a time, by measured costs."""

    Options = NetAdaptOptions

    def __init__(self, problem: Problem, options: NetAdaptOptions, seed: int) -> None:
        self.space = problem.space
        self.options = options
        self.generator = np.random.default_rng(seed)
        self.costs = Costs(problem.objectives)
        self.trail = [seed_architecture(problem.space, options.seed_architecture)]
        """The seed, and what each iteration kept."""
        self.step = options.step
        self.stepping = bool(self.costs.objectives)
        """Are there costs to lower?"""
        self.trials: dict[Architecture, Trial] = {}
        self.version = 0
        self._novelty = Novelty(problem.space, self.generator)
        self._best = (-np.inf, self.trail[0])
        self._futile: set[tuple[str, Choice]] = set()
        """Decisions and values that raised a cost, not to be tried again."""
        self._changes: dict[str, Changes] = {}
        """Of the decisions that are tried in this iteration."""
        self._untried: list[tuple[str, Changes]] = []
        self._begin_iteration()

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Propose the seed, then the changes that are due; while none is, a mutant of the best."""
        state = random_state(self.generator)
        wanted = next(self._due(), None)
        if wanted is None:
            best = self._best[1] if np.isfinite(self._best[0]) else self.trail[-1]
            wanted = self.space.mutate(best, self.generator)
        return Proposal(self._novelty.take(wanted), self.version, random_state=state)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Note what was measured, and step down as often as that allows."""
        for trial in trials:
            self.trials[trial.architecture] = trial
            reward = fitness(trial)
            if reward is not None and reward > self._best[0]:
                self._best = (reward, trial.architecture)
        while self.stepping and self._step_down():
            pass
        self.version += 1

    def _due(self) -> Iterator[Architecture]:
        """Yield what is to be measured next: of each decision the first change unknown, then the others."""
        if self.trail[0] not in self._novelty:
            yield self.trail[0]
        if not self.stepping:
            return
        later: list[Architecture] = []
        for name, changes in self._changes.items():
            if self._enough(name, changes) is None:
                fresh = [a for _, a in changes if a not in self._novelty]
                waits = any(a in self._novelty and a not in self.trials for _, a in changes)
                later += fresh[0 if waits else 1 :]
                if not waits:
                    yield from fresh[:1]
        yield from later

    def _enough(self, name: str, changes: Changes) -> tuple[float, Trial] | None:
        """Return the first change that is known to save a step, and what it saves."""
        incumbent = self.trials.get(self.trail[-1])
        for value, architecture in changes:
            trial = self.trials.get(architecture)
            if incumbent is None or trial is None:
                return None
            saving = self.costs.saving(incumbent, trial)
            if saving is not None and saving >= self.step:
                return saving, trial
            if saving is not None and saving < 0:
                self._futile.add((name, value))
        return None

    def _step_down(self) -> bool:
        """Keep the best candidate once every decision has one or none; False when that must wait."""
        incumbent = self.trials.get(self.trail[-1])
        if incumbent is None:
            return False
        if not self.costs.unmet(incumbent):
            self.stepping = False
            return False
        candidates: list[tuple[float, Trial]] = []
        for name, changes in self._changes.items():
            candidate = self._enough(name, changes)
            if candidate is not None:
                candidates.append(candidate)
            elif not all(a in self.trials for _, a in changes):
                return False
        if candidates:
            self.trail.append(self._pick(incumbent, candidates).architecture)
            self.step *= self.options.decay
            self._begin_iteration()
        elif self._untried:
            self._try_more()
        else:
            self.step *= 0.5
            self.stepping = self.step >= _LEAST_STEP
        return self.stepping

    def _pick(self, incumbent: Trial, candidates: list[tuple[float, Trial]]) -> Trial:
        """Return the candidate to keep; where no accuracy is known, the one that saves most."""
        before = _accuracy(incumbent)

        def merit(candidate: tuple[float, Trial]) -> tuple[float, float]:
            saving, trial = candidate
            accuracy = _accuracy(trial)
            if self.options.pick == "ratio" and np.isfinite(before):
                accuracy = (accuracy - before) / saving
            return accuracy, saving

        return max(candidates, key=merit)[1]

    def _begin_iteration(self) -> None:
        """Collect the incumbent's changes by decision, in random order, without what is known to be futile."""
        found = [
            (name, [change for change in changes if (name, change[0]) not in self._futile])
            for name, changes in changes_by_decision(self.space, self.trail[-1]).items()
        ]
        self._untried = [found[int(place)] for place in self.generator.permutation(len(found))]
        self._changes = {}
        self._try_more()

    def _try_more(self) -> None:
        count = self.options.decisions
        self._changes.update(self._untried[:count])
        self._untried = self._untried[count:]


def _accuracy(trial: Trial) -> float:
    """Return the accuracy where it was estimated, or the reward, or minus infinity."""
    if trial.estimate is not None:
        return trial.estimate.accuracy
    return trial.score.reward if trial.score is not None else -np.inf
