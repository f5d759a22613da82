"""Searches on virtual devices in virtual time: hours of a farm in seconds, for judging strategies.

Whatever a search does to a strategy happens here, by the search's own rules (`search.schedule`):
trials under way at once, learning in order, stragglers passed over, failures, noise. Only the
devices and the trainings are made up, and time jumps from one end of a trial to the next.
"""

import heapq
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from hilnas.objectives import Figure, Objective
from hilnas.options import Options
from hilnas.search.replay import pending
from hilnas.search.schedule import Window, overdue_after_s
from hilnas.strategies import Strategy
from hilnas.testing.outcomes import concluded
from hilnas.trial import Architecture, Trial, TrialStatus

Truth = Callable[[Architecture], Mapping[str, float]]
"""An architecture's true values by objective label."""


class FarmConditions(Options):
    """What the virtual devices are like."""

    devices: int = Field(1, ge=1)
    """Trials that run at once."""
    in_flight: int | None = Field(None, ge=1)
    """Trials proposed and not observed, at most; by default enough to keep all devices busy."""
    group: int = Field(1, ge=1)
    """Trials that the strategy observes at a time."""
    patience: float = Field(3.0, gt=1)
    """As in a recipe's [search]."""
    seconds: float = Field(120.0, gt=0)
    """Median duration of a trial."""
    spread: float = Field(0.3, ge=0)
    """Standard deviation of the logarithm of durations."""
    straggler_share: float = Field(0.0, ge=0, le=1)
    """Share of trials that take `straggler_factor` as long."""
    straggler_factor: float = Field(10.0, ge=1)
    failure_share: float = Field(0.0, ge=0, lt=1)
    """Share of trials that the device fails."""
    invalid_share: float = Field(0.0, ge=0, lt=1)
    """Share of architectures that are INVALID whenever they are tried."""
    cost_noise: float = Field(0.0, ge=0)
    """Standard error of a cost, as a share of it."""
    accuracy_noise: float = Field(0.0, ge=0)
    """Standard error of an accuracy, as a share of all examples."""

    @property
    def window(self) -> int:
        """Trials in flight: one for one device, and half as many again as there are devices for more."""
        if self.in_flight is not None:
            return self.in_flight
        return self.group if self.devices == 1 else self.devices + (self.devices + 1) // 2 + self.group - 1


@dataclass(frozen=True)
class Outcome:
    """A simulated search."""

    trials: list[Trial]
    """In the order of proposal."""
    ended_s: list[float]
    """Virtual time at which each ended."""
    strategy_s: float
    """Real time that the strategy took, for all proposals."""

    @property
    def makespan_s(self) -> float:
        """Virtual time from the first proposal to the last end."""
        return max(self.ended_s, default=0.0)


class VirtualFarm:
    """Drives one strategy through one search."""

    def __init__(
        self,
        strategy: Strategy,
        objectives: Sequence[Objective],
        truth: Truth,
        conditions: FarmConditions,
        seed: int,
    ) -> None:
        self._strategy = strategy
        self._objectives = objectives
        self._truth = truth
        self._conditions = conditions
        self._generator = np.random.default_rng([seed, 1])
        self._trials: list[Trial] = []
        self._ended_s: list[float] = []
        self._started_s: list[float] = []
        self._window = Window(conditions.window, min(conditions.group, conditions.window))
        self._queue: list[int] = []
        self._busy: list[tuple[float, int]] = []
        self._durations: list[float] = []
        self._now_s = 0.0
        self._strategy_s = 0.0

    def run(self, count: int, told: Callable[[int], None] = lambda done: None) -> Outcome:
        """Run until `count` trials have been proposed and all have ended; `told` hears how many were proposed."""
        while len(self._trials) < count or self._busy:
            while len(self._trials) < count and self._learn():
                self._propose()
                told(len(self._trials))
            self._occupy()
            self._wait()
        return Outcome(self._trials, self._ended_s, self._strategy_s)

    def _learn(self) -> bool:
        while (group := self._window.next_group(self._is_final, self._is_overdue)) != []:
            if group is None:
                return False
            self._window.remove(group)
            start = time.perf_counter()
            self._strategy.observe([self._trials[n] for n in group])
            self._strategy_s += time.perf_counter() - start
        return True

    def _is_final(self, number: int) -> bool:
        return self._trials[number].final

    def _is_overdue(self, number: int) -> bool:
        after_s = overdue_after_s(self._durations, self._conditions.patience)
        return self._now_s >= self._started_s[number] + after_s

    def _propose(self) -> None:
        start = time.perf_counter()
        proposal = self._strategy.propose(pending([self._trials[n] for n in self._window.unobserved]))
        self._strategy_s += time.perf_counter() - start
        number = len(self._trials)
        self._trials.append(Trial(number, proposal))
        self._window.add(number)
        self._started_s.append(self._now_s)
        self._ended_s.append(0.0)
        self._queue.append(number)

    def _occupy(self) -> None:
        while self._queue and len(self._busy) < self._conditions.devices:
            heapq.heappush(self._busy, (self._now_s + self._duration(), self._queue.pop(0)))

    def _wait(self) -> None:
        """Let time go on to the next end of a trial, or to where one becomes overdue while a device is idle."""
        if not self._busy:
            return
        if len(self._busy) < self._conditions.devices:
            after_s = overdue_after_s(self._durations, self._conditions.patience)
            overdue = [
                s for n in self._window.unobserved if (s := self._started_s[n] + after_s) > self._now_s
            ]
            if min(overdue, default=math.inf) < self._busy[0][0]:
                self._now_s = min(overdue)
                return
        self._now_s, number = heapq.heappop(self._busy)
        self._durations.append(self._now_s - self._started_s[number])
        self._ended_s[number] = self._now_s
        self._trials[number] = self._end(self._trials[number])

    def _duration(self) -> float:
        conditions = self._conditions
        seconds = conditions.seconds * float(np.exp(conditions.spread * self._generator.normal()))
        lags = self._generator.random() < conditions.straggler_share
        return seconds * (conditions.straggler_factor if lags else 1.0)

    def _end(self, trial: Trial) -> Trial:
        conditions, draw = self._conditions, self._generator
        if draw.random() < conditions.failure_share:
            return replace(trial, status=TrialStatus.FAILED, reason="the virtual device failed")
        if int(trial.architecture.digest[:8], 16) / 2**32 < conditions.invalid_share:
            return replace(trial, status=TrialStatus.INVALID, reason="invalid by lot")
        figures = {}
        for objective in self._objectives:
            value = self._truth(trial.architecture)[objective.label]
            if objective.maximise:
                se = conditions.accuracy_noise
                seen = min(1.0, max(0.0, value + se * float(draw.normal())))
            else:
                se = conditions.cost_noise * value
                seen = value * float(np.exp(conditions.cost_noise * draw.normal()))
            figures[objective.label] = Figure(seen, se)
        return concluded(trial, self._objectives, figures)
