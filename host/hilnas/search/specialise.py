"""Specialising: the best net of a trained supernet for a device and a latency, without training (Cai et al. 2020).

A policy-gradient controller with its reward model proposes nets; the supernet says how accurate their int8 files
are, in seconds, and the device, or its latency table, how fast. What the supernet said of a net is kept for the
next device, and what one device taught is a hint for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from hilnas.estimators import EstimateResult, Estimator
from hilnas.executors import Executor, WorkerDiedError
from hilnas.export.errors import ExportError
from hilnas.objectives import Objective, Quantity, figure_of, score
from hilnas.search.work import estimate_architecture
from hilnas.spaces import Space
from hilnas.strategies import Problem, Strategy
from hilnas.tasks import Task
from hilnas.trial import (
    DEVICE_FAULTS,
    FIGURE_VERDICTS,
    Architecture,
    Measurement,
    Proposal,
    Trial,
    TrialStatus,
)

GROUP = 6
"""Nets that are proposed, evaluated and measured at a time."""
FINALISTS = 12
"""Of the most accurate nets within the target, how many are measured in full, at most, until one keeps to it."""


class LatencySource(Protocol):
    """Says how long nets take."""

    @property
    def device_class(self) -> str:
        """Of what."""

    async def measure(
        self, nets: Sequence[tuple[Architecture, bytes]], final: bool = False
    ) -> list[Measurement]:
        """Return what each net, with its int8 file, takes; at length for a `final` one."""


class SupernetAnswers:
    """What a supernet says of nets, each asked about once."""

    def __init__(self, estimator: Estimator, space: Space, task: Task, executor: Executor, seed: int) -> None:
        self._estimator, self.space, self.task = estimator, space, task
        self._executor, self.seed = executor, seed
        self._known: dict[Architecture, EstimateResult | str] = {}

    async def ask(self, architectures: Sequence[Architecture]) -> list[EstimateResult | str]:
        """Return an estimate with its int8 file for each, or why there is none."""
        import asyncio

        missing = [a for a in dict.fromkeys(architectures) if a not in self._known]
        found = await asyncio.gather(*(self._ask(architecture) for architecture in missing))
        self._known.update(zip(missing, found, strict=True))
        return [self._known[architecture] for architecture in architectures]

    async def _ask(self, architecture: Architecture) -> EstimateResult | str:
        try:
            (estimate, model), _ = await self._executor.run(
                estimate_architecture, self._estimator, architecture, self.space, self.task, self.seed
            )
        except (ExportError, WorkerDiedError) as error:
            return f"{type(error).__name__}: {error}"
        return EstimateResult(estimate, model)


@dataclass
class Specialisation:
    """The search for one device's net: what was tried, and what was found."""

    source: LatencySource
    target_ms: float
    trials: list[Trial] = field(default_factory=list)
    chosen: Trial | None = None
    """The most accurate net within the target; None when there is none."""
    model: bytes = b""
    """Its int8 file."""
    finals: list[Trial] = field(default_factory=list)
    """What was measured in full, the most accurate first; the last one is chosen, or none is."""

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Accuracy, and the latency with its target."""
        latency = Objective(
            quantity=Quantity.LATENCY,
            device_class=self.source.device_class,
            target=self.target_ms,
            kind="hard",
        )
        return Objective(quantity=Quantity.ACCURACY), latency

    def latency_ms(self, trial: Trial) -> float | None:
        """Return the latency of a trial on this device."""
        figure = figure_of(self.objectives[1], trial)
        return figure.value if figure is not None else None

    @property
    def fastest(self) -> Trial | None:
        """The fastest net that was tried."""
        scored = [trial for trial in self.trials if self.latency_ms(trial) is not None]
        return min(scored, key=lambda trial: self.latency_ms(trial) or 0.0, default=None)


async def specialise(
    goal: Specialisation,
    answers: SupernetAnswers,
    make_strategy: Callable[[Problem], Strategy],
    candidates: int,
    earlier: Sequence[Trial] = (),
    done: Callable[[], object] = lambda: None,
) -> None:
    """Try `candidates` nets for a goal and choose one. Trials of `earlier` goals are hints."""
    numbered = tuple(replace(trial, number=number) for number, trial in enumerate(earlier))
    strategy = make_strategy(Problem(answers.space, goal.objectives, numbered))
    while len(goal.trials) < candidates:
        group: list[Trial] = []
        for number in range(len(goal.trials), min(len(goal.trials) + GROUP, candidates)):
            group.append(Trial(number, strategy.propose(group)))
        group = await _tried(goal, answers, group)
        strategy.observe(group)
        goal.trials += group
        for _ in group:
            done()
    await _choose(goal, answers)


async def _tried(goal: Specialisation, answers: SupernetAnswers, group: list[Trial]) -> list[Trial]:
    results = await answers.ask([trial.architecture for trial in group])
    nets = [
        (trial.architecture, result.model or b"")
        for trial, result in zip(group, results, strict=True)
        if not isinstance(result, str)
    ]
    measured = iter(await goal.source.measure(nets))
    return [
        replace(trial, status=TrialStatus.INVALID, reason=result)
        if isinstance(result, str)
        else _ended(goal, replace(trial, estimate=result.estimate, measurements=(next(measured),)))
        for trial, result in zip(group, results, strict=True)
    ]


def _ended(goal: Specialisation, trial: Trial) -> Trial:
    (measurement,) = trial.measurements
    if measurement.verdict in FIGURE_VERDICTS:
        return replace(trial, status=TrialStatus.SCORED, score=score(goal.objectives, trial))
    at_fault = TrialStatus.FAILED if measurement.verdict in DEVICE_FAULTS else TrialStatus.INVALID
    return replace(trial, status=at_fault, reason=f"{measurement.verdict}: {measurement.message}")


async def _choose(goal: Specialisation, answers: SupernetAnswers) -> None:
    """Measure the most accurate nets within the target in full, and take the first that keeps to it."""
    within = [t for t in goal.trials if (ms := goal.latency_ms(t)) is not None and ms <= goal.target_ms]
    firsts = {trial.architecture: trial for trial in reversed(within)}
    ranked = sorted(firsts.values(), key=lambda t: (-t.estimate.accuracy if t.estimate else 0.0, t.number))
    for trial in ranked[:FINALISTS]:
        (result,) = await answers.ask([trial.architecture])
        assert not isinstance(result, str)
        (measurement,) = await goal.source.measure([(trial.architecture, result.model or b"")], final=True)
        final = _ended(goal, Trial(trial.number, trial.proposal, estimate=result.estimate,
                                   measurements=(measurement,)))  # fmt: skip
        goal.finals.append(final)
        latency = goal.latency_ms(final)
        if latency is not None and latency <= goal.target_ms:
            goal.chosen, goal.model = final, result.model or b""
            return


def as_hints(trials: Sequence[Trial]) -> list[Trial]:
    """Return trials as hints for another device's search."""
    ended = [t for t in trials if t.status in (TrialStatus.SCORED, TrialStatus.INVALID)]
    return [replace(trial, proposal=Proposal(trial.architecture), timings={}, reason="") for trial in ended]
