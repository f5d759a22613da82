"""`tpe`, `gp`, `nsga2`: Optuna's samplers, asked and told."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from hilnas import options
from hilnas.strategies.base import Problem, Strategy
from hilnas.strategies.common import Novelty, one_thread, to_minimise
from hilnas.strategies.optuna_study import Dead, SpaceStudy, quiet
from hilnas.trial import Proposal, Trial, TrialStatus

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class TpeOptions(options.Options):
    """Settings of `tpe`; the defaults are Optuna's."""

    startup: int = Field(10, ge=1)
    """Trials told before the sampler models anything: the ones until then are drawn."""
    candidates: int = Field(24, ge=1)
    """Draws of which the one with the highest ratio of good to bad is suggested."""
    multivariate: bool = False
    """Model the decisions together (Falkner et al. 2018), by groups that live together."""


class GpOptions(options.Options):
    """Settings of `gp`; the defaults are Optuna's."""

    startup: int = Field(10, ge=1)
    """Trials told before the sampler models anything: the ones until then are drawn."""


class Nsga2Options(options.Options):
    """Settings of `nsga2`; the defaults are Optuna's."""

    aim: Literal["reward", "front"] = "front"
    """Search for the best reward, or for the front of all objectives."""
    population: int = Field(50, ge=2)
    """Scored trials of a generation."""
    crossover: float = Field(0.9, ge=0, le=1)
    """Probability that a child has two parents."""


class OptunaStrategy(Strategy):
    """What the samplers have in common."""

    dead: ClassVar[Dead]
    attempts: ClassVar[int]
    """How often to ask for something new before it is mutated."""

    def __init__(self, problem: Problem, sampler: "BaseSampler", seed: int, front: bool = False) -> None:
        self.objectives = problem.objectives if front else problem.objectives[:1]
        """Whose losses are told; one alone stands for the reward."""
        self.study = SpaceStudy(problem.space, sampler, max(1, len(self.objectives)), self.dead)
        self.version = 0
        self._novelty = Novelty(problem.space, np.random.default_rng(seed))
        self._known: list[tuple[float, ...]] = []
        self._refused: list[Trial] = []
        """INVALID ones that wait for a scored one to be worse than."""

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Ask until something is new; mutate what was asked for in vain."""
        for _ in range(self.attempts):
            wanted = self.study.ask()
            if wanted not in self._novelty:
                break
        architecture = self._novelty.take(wanted)
        self.study.take(architecture)
        return Proposal(architecture, self.version)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Tell losses; INVALID ones are worse than the worst so far, FAILED ones say nothing."""
        for trial in trials:
            if trial.status is TrialStatus.SCORED:
                self._known.append(to_minimise(self.objectives, trial))
                self.study.tell(trial.architecture, self._known[-1])
            elif trial.status is TrialStatus.INVALID:
                self._refused.append(trial)
            else:
                self.study.tell(trial.architecture, None)
        if self._known:
            worst, best = np.max(self._known, axis=0), np.min(self._known, axis=0)
            for trial in self._refused:
                self.study.tell(trial.architecture, [float(v) for v in worst + 0.1 * (worst - best)])
            self._refused = []
        self.version += 1


class Tpe(OptunaStrategy):
    """Tree-structured Parzen estimator (Bergstra et al. 2011); pending trials count as bad ones."""

    Options = TpeOptions
    dead = "absent"
    attempts = 10

    def __init__(self, problem: Problem, options: TpeOptions, seed: int) -> None:
        from optuna.samplers import TPESampler

        with quiet():
            sampler = TPESampler(
                seed=seed,
                n_startup_trials=options.startup,
                n_ei_candidates=options.candidates,
                multivariate=options.multivariate,
                group=options.multivariate,
                constant_liar=True,
            )
        super().__init__(problem, sampler, seed)


class Gp(OptunaStrategy):
    """Gaussian process and log expected improvement (Ament et al. 2023); some seconds a proposal.

    The model wants the same decisions in each trial: those that are not live stand at their first choice.
    """

    Options = GpOptions
    dead = "first"
    attempts = 1  # without news it would suggest the same again

    def __init__(self, problem: Problem, options: GpOptions, seed: int) -> None:
        from optuna.samplers import GPSampler

        with quiet():
            sampler = GPSampler(seed=seed, n_startup_trials=options.startup)
        super().__init__(problem, sampler, seed)

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Ask on one thread: sums over several differ in their last bits."""
        with one_thread():
            return super().propose(pending)


class Nsga2(OptunaStrategy):
    """NSGA-II by generations (Deb et al. 2002). Decisions that are not live are inherited silently."""

    Options = Nsga2Options
    dead = "drawn"
    attempts = 10

    def __init__(self, problem: Problem, options: Nsga2Options, seed: int) -> None:
        from optuna.samplers import NSGAIISampler

        with quiet():
            sampler = NSGAIISampler(
                seed=seed, population_size=options.population, crossover_prob=options.crossover
            )
        super().__init__(problem, sampler, seed, front=options.aim == "front")
