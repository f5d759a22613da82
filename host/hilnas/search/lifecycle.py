"""The life of one trial: export, measurement, estimate, score; each step recorded, none done twice."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

from hilnas.executors import Executor, WorkerDiedError
from hilnas.export.errors import ExportError
from hilnas.farm import Farm
from hilnas.objectives import broken_limit, has_limits_before_training, score
from hilnas.search.measuring import measure_once
from hilnas.search.setup import Setup
from hilnas.search.work import estimate_architecture, export_provisional
from hilnas.spaces import SpaceError
from hilnas.store import EventKind, ModelFiles, Record
from hilnas.store.codec import dump
from hilnas.tasks import TaskError
from hilnas.tasks.training import TrainingError
from hilnas.trial import MODEL_FAULTS, Architecture, Estimate, Measurement, ModelFacts, Trial, Verdict

T = TypeVar("T")


class _Invalid(Exception):  # noqa: N818 - an outcome, not an error
    """The candidate is at fault."""


class _Failed(Exception):  # noqa: N818
    """The device, the link or the host is at fault."""


class Lifecycle:
    """Takes trials of one search from proposal to their end.

    `trials` are the search's, as the record has them; what is there already is not done again.
    """

    def __init__(
        self,
        setup: Setup,
        search_id: str,
        record: Record,
        models: ModelFiles,
        farm: Farm,
        executor: Executor,
        trials: Sequence[Trial],
    ) -> None:
        self.setup = setup
        self.search_id = search_id
        self.record = record
        self.models = models
        self.farm = farm
        self.executor = executor
        self.trials = trials
        self.stages: dict[int, str] = {}
        """What each trial under way is at."""
        self._one_at_a_time: defaultdict[Architecture, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self, number: int) -> None:
        """Bring trial `number` to its end."""
        try:
            await self._export(number)
            self._check_limits(number)
            if has_limits_before_training(self.setup.objectives):
                await self._measure(number)  # cheap before dear: what breaks a limit is not trained
                self._check_limits(number)
                await self._estimate(number)
            else:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._measure(number))
                    group.create_task(self._estimate(number))
            self._check_limits(number)
            result = score(self.setup.objectives, self.trials[number])
            self._append(number, EventKind.SCORED, payload=dump(result))
        except* _Invalid as reasons:
            self._append(number, EventKind.INVALID, payload={"reason": _first(reasons)})
        except* _Failed as reasons:
            if not self.trials[number].final:
                self._append(number, EventKind.FAILED, payload={"reason": _first(reasons)})
        finally:
            self.stages.pop(number, None)

    async def _export(self, number: int) -> None:
        trial = self.trials[number]
        if trial.model is not None and self.models.path(trial.model.sha256).exists():
            return
        self.stages[number] = "export"
        (content, facts), seconds = await self._work(
            export_provisional, trial.architecture, self.setup.space, self.setup.task, urgent=True
        )
        model = ModelFacts(self.models.put(content), facts.bytes, facts.macs, facts.parameters)
        self._append(number, EventKind.EXPORTED, payload={"model": dump(model), "seconds": seconds})

    async def _measure(self, number: int) -> None:
        async with asyncio.TaskGroup() as group:
            for device_class in self.setup.device_classes:
                group.create_task(self._measure_on(number, device_class))

    async def _measure_on(self, number: int, device_class: str) -> None:
        trial = self.trials[number]
        if any(m.device_class == device_class for m in trial.measurements):
            self._judge(next(m for m in trial.measurements if m.device_class == device_class))
            return
        assert trial.model is not None
        measurement = await measure_once(
            self.record,
            self.farm,
            self.search_id,
            number,
            trial.model.sha256,
            device_class,
            EventKind.MEASURED,
        )
        if measurement.verdict is Verdict.DEVICE_FAULT:
            raise _Failed(f"{measurement.verdict} on {measurement.device}: {measurement.message}")
        self._judge(measurement)

    @staticmethod
    def _judge(measurement: Measurement) -> None:
        if measurement.verdict in MODEL_FAULTS:
            raise _Invalid(f"{measurement.verdict} on {measurement.device}: {measurement.message}")

    async def _estimate(self, number: int) -> None:
        trial = self.trials[number]
        if trial.estimate is not None:
            return
        self.stages[number] = "train"
        async with self._one_at_a_time[trial.architecture]:
            estimate, seconds = self._known_estimate(trial.architecture), 0.0
            if estimate is None:
                estimate, seconds = await self._estimate_anew(number)
        self._append(number, EventKind.ESTIMATED, payload={"estimate": dump(estimate), "seconds": seconds})
        self.stages[number] = "measure"

    def _known_estimate(self, architecture: Architecture) -> Estimate | None:
        """A strategy may propose one architecture twice; it is trained once."""
        twins = (t for t in self.trials if t.estimate is not None and t.architecture == architecture)
        return next((twin.estimate for twin in twins), None)

    async def _estimate_anew(self, number: int) -> tuple[Estimate, float]:
        setup = self.setup
        (estimate, content), seconds = await self._work(
            estimate_architecture,
            setup.estimator,
            self.trials[number].architecture,
            setup.space,
            setup.task,
            setup.seed,
        )
        if content is not None:
            self.models.put(content)
        return estimate, seconds

    async def _work(
        self, function: Callable[..., tuple[T, float]], *arguments: object, urgent: bool = False
    ) -> tuple[T, float]:
        """Run in a worker; what comes back is the function's own value and the seconds it took."""
        try:
            return await self.executor.run(function, *arguments, urgent=urgent)
        except (ExportError, TrainingError) as error:
            raise _Invalid(f"{type(error).__name__}: {error}") from error
        except WorkerDiedError as error:
            raise _Failed(str(error)) from error
        except (TaskError, SpaceError, OSError):
            raise  # the search cannot go on at all
        except Exception as error:  # one candidate must not end the others; too many FAILED end the search
            raise _Failed(f"{type(error).__name__}: {error}; see workers.log") from error

    def _check_limits(self, number: int) -> None:
        reason = broken_limit(self.setup.objectives, self.trials[number])
        if reason is not None:
            raise _Invalid(reason)

    def _append(self, number: int, kind: EventKind, payload: dict[str, object]) -> None:
        self.record.append(self.search_id, kind, number, payload=payload)


def _first(group: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
