"""The life of one trial: export, filter, measurement, estimate, score; each step recorded, none done twice."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from hilnas.estimators import Staged
from hilnas.executors import WorkerDiedError
from hilnas.export.errors import ExportError
from hilnas.objectives import Quantity, broken_limit, figure_of, has_limits_before_training, score
from hilnas.proxies.options import FilterOptions
from hilnas.search.context import SearchContext
from hilnas.search.history import RungReached
from hilnas.search.stages import Stages
from hilnas.search.work import estimate_architecture, export_provisional, rank_by_proxies, train_rung
from hilnas.spaces import SpaceError
from hilnas.store import EventKind
from hilnas.store.codec import dump
from hilnas.tasks import TaskError
from hilnas.tasks.training import TrainingError
from hilnas.trial import (
    DEVICE_FAULTS,
    MODEL_FAULTS,
    Architecture,
    Estimate,
    Measurement,
    ModelFacts,
    ProxyRank,
    Trial,
)

T = TypeVar("T")

_SEEDS_APART = 1_000_003
"""Between the training seeds of an architecture's repeats."""


class _Invalid(Exception):  # noqa: N818 - an outcome, not an error
    """The candidate is at fault."""


class _Failed(Exception):  # noqa: N818
    """The device, the link or the host is at fault."""


class Lifecycle:
    """Takes trials of one search from proposal to their end; what the record holds is not done again."""

    def __init__(self, context: SearchContext) -> None:
        self._context = context
        self._setup = context.setup
        self._trials = context.history.trials
        self.stages: dict[int, str] = {}
        """What each trial under way is at."""
        self._stages: Stages | None = None
        if isinstance(context.setup.estimator, Staged):
            self._stages = Stages(context.setup.estimator, context.history, context.weights)
        self._one_at_a_time: defaultdict[Architecture, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self, number: int) -> None:
        """Bring trial `number` to its end."""
        if self._stages is not None:
            self._stages.came(number)
        try:
            await self._export(number)
            self._check_limits(number)
            await self._filter(number)
            if has_limits_before_training(self._setup.objectives):
                await self._measure(number)  # cheap before dear: what breaks a limit is not trained
                self._check_limits(number)
                await self._estimate(number)
            else:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._measure(number))
                    group.create_task(self._estimate(number))
            self._check_limits(number)
            result = score(self._setup.objectives, self._trials[number])
            self._append(number, EventKind.SCORED, payload=dump(result))
        except* _Invalid as reasons:
            self._append(number, EventKind.INVALID, payload={"reason": _first(reasons)})
        except* _Failed as reasons:
            if not self._trials[number].final:
                self._append(number, EventKind.FAILED, payload={"reason": _first(reasons)})
        finally:
            self.stages.pop(number, None)
            if self._stages is not None:
                self._stages.gone(number)

    async def _export(self, number: int) -> None:
        trial = self._trials[number]
        if trial.model is not None and self._context.models.path(trial.model.sha256).exists():
            return
        self.stages[number] = "export"
        (content, facts), seconds = await self._work(
            export_provisional, trial.architecture, self._setup.space, self._setup.task, urgent=True
        )
        model = ModelFacts(self._context.models.put(content), facts.bytes, facts.macs, facts.parameters)
        self._append(number, EventKind.EXPORTED, payload={"model": dump(model), "seconds": seconds})
        del self.stages[number]

    async def _filter(self, number: int) -> None:
        """See that proxies rank the candidate high enough: a second of the host, before seconds of a device."""
        options = self._setup.recipe.filter
        if options is None:
            return
        found = self._trials[number].proxy_rank or await self._rank(number, options)
        if found.rank <= 1 - options.keep:
            why = "".join(f"; {text}" for text in found.scores.values() if isinstance(text, str))
            raise _Invalid(
                f"by {' + '.join(options.proxy)} it beats {found.rank:.1%} of {found.reference} architectures, "
                f"and the filter asks for more than {1 - options.keep:.1%} (filter.keep = {options.keep}){why}"
            )

    async def _rank(self, number: int, options: FilterOptions) -> ProxyRank:
        setup, trial = self._setup, self._trials[number]
        self.stages[number] = "filter"
        async with self._one_at_a_time[trial.architecture]:
            known = self._known_rank(trial)
            if known is not None:
                found, seconds = known, 0.0
            else:
                sample = await self._context.preparation.filter()
                asked = (sample, trial.architecture, setup.space, setup.task, options, setup.seed)
                found, seconds = await self._work(rank_by_proxies, *asked, urgent=True)
        self._append(number, EventKind.RANKED, payload={"rank": dump(found), "seconds": seconds})
        del self.stages[number]
        return found

    def _known_rank(self, trial: Trial) -> ProxyRank | None:
        ranks = (twin.proxy_rank for twin in self._trials if twin.architecture == trial.architecture)
        return next((rank for rank in ranks if rank is not None), None)

    async def _measure(self, number: int) -> None:
        async with asyncio.TaskGroup() as group:
            for device_class in self._setup.device_classes:
                group.create_task(self._measure_on(number, device_class))

    async def _measure_on(self, number: int, device_class: str) -> None:
        trial = self._trials[number]
        known = next((m for m in trial.measurements if m.device_class == device_class), None)
        if known is not None:
            self._judge(number, known)
            return
        assert trial.model is not None
        self.stages.setdefault(number, "measure")
        measurement = await self._context.measure_once(
            number,
            trial.model.sha256,
            device_class,
            EventKind.MEASURED,
            anew=trial.proposal.repeat > 0,
        )
        if measurement.verdict in DEVICE_FAULTS:
            raise _Failed(f"{measurement.verdict} on {measurement.device}: {measurement.message}")
        if measurement.verdict not in MODEL_FAULTS and (why := self._context.meter_problem(measurement)):
            raise _Failed(f"{measurement.device} measured no energy: {why}")
        self._judge(number, measurement)

    def _judge(self, number: int, measurement: Measurement) -> None:
        if measurement.verdict in MODEL_FAULTS:
            raise _Invalid(f"{measurement.verdict} on {measurement.device}: {measurement.message}")
        for objective in self._setup.objectives:
            asked = objective.device_class == measurement.device_class
            if asked and figure_of(objective, self._trials[number]) is None:
                if objective.quantity is Quantity.ENERGY:
                    energy = measurement.energy
                    raise _Failed(f"energy on {measurement.device}: {energy.verdict}: {energy.message}")
                raise _Failed(
                    f"{measurement.device} told no {objective.quantity.replace('_', ' ')}: "
                    "its kernel or its agent cannot; take the objective out, or the device"
                )

    async def _estimate(self, number: int) -> None:
        trial = self._trials[number]
        if trial.estimate is not None:
            return
        self.stages[number] = "train"
        lock = self._one_at_a_time[trial.architecture]
        if self._stages is not None and lock.locked():
            self._stages.gone(number)  # its twin must not wait for it
        async with lock:
            estimate, seconds = self._known_estimate(trial), 0.0
            if estimate is None:
                if self._stages is not None:
                    self._stages.came(number)
                estimate, seconds = await self._estimate_anew(number)
        self._append(number, EventKind.ESTIMATED, payload={"estimate": dump(estimate), "seconds": seconds})
        for reached in self._context.history.rungs.get(number, []):
            self._context.weights.discard(reached.checkpoint_sha256)  # nothing goes on from there any more
        self.stages[number] = "measure"

    def _known_estimate(self, trial: Trial) -> Estimate | None:
        """A strategy may propose one architecture twice; it is trained once, unless the result is in doubt."""
        for twin in self._trials:
            same = twin.architecture == trial.architecture and twin.proposal.repeat == trial.proposal.repeat
            if same and twin.estimate is not None:
                return twin.estimate
        return None

    async def _in_stages(self, stages: Stages, number: int) -> tuple[Estimate, float]:
        """Train in rungs; the seconds are those of this session."""
        spent = 0.0

        async def train(number: int, rung: int, checkpoint: bytes | None) -> RungReached:
            nonlocal spent
            setup, trial = self._setup, self._trials[number]
            (estimate, model, kept), seconds = await self._work(
                train_rung,
                setup.estimator,
                trial.architecture,
                setup.space,
                setup.task,
                self._seed(number),
                rung,
                checkpoint,
            )
            self._check_share(estimate)
            if model is not None:
                self._context.models.put(model)
            reached = RungReached(rung, estimate, self._context.weights.put(kept))
            payload: dict[str, object] = {"reached": dump(reached), "seconds": seconds}
            self._context.append(EventKind.RUNG, number, str(rung), payload)
            spent += seconds
            return reached

        estimate = await stages.estimate(number, train)
        return await self._corrected(estimate), spent

    def _seed(self, number: int) -> int:
        return self._setup.seed + self._trials[number].proposal.repeat * _SEEDS_APART

    async def _estimate_anew(self, number: int) -> tuple[Estimate, float]:
        if self._stages is not None:
            return await self._in_stages(self._stages, number)
        setup, trial = self._setup, self._trials[number]
        estimator = await self._context.preparation.estimator()
        (estimate, content), seconds = await self._work(
            estimate_architecture,
            estimator,
            trial.architecture,
            setup.space,
            setup.task,
            self._seed(number),
        )
        self._check_share(estimate)
        if content is not None:
            self._context.models.put(content)
        return await self._corrected(estimate), seconds

    @staticmethod
    def _check_share(estimate: Estimate) -> None:
        if not (0 <= estimate.accuracy <= 1 and 0 <= estimate.accuracy_se < math.inf):
            raise _Failed(
                f"estimator {estimate.estimator} gave an accuracy of {estimate.accuracy} ± "
                f"{estimate.accuracy_se}, which is no share of anything"
            )

    async def _corrected(self, estimate: Estimate) -> Estimate:
        """Return an estimate by the device's own arithmetic, where that is asked for."""
        try:
            return await self._context.accuracy.correct(estimate)
        except ValueError as error:
            raise _Failed(f"accuracy on the device: {error}") from error

    async def _work(
        self, function: Callable[..., tuple[T, float]], *arguments: object, urgent: bool = False
    ) -> tuple[T, float]:
        """Run in a worker; what comes back is the function's own value and the seconds it took."""
        try:
            return await self._context.executor.run(function, *arguments, urgent=urgent)
        except (ExportError, TrainingError) as error:
            raise _Invalid(f"{type(error).__name__}: {error}") from error
        except WorkerDiedError as error:
            raise _Failed(str(error)) from error
        except (TaskError, SpaceError, OSError):
            raise  # the search cannot go on at all
        except Exception as error:  # one candidate must not end the others; too many FAILED end the search
            raise _Failed(f"{type(error).__name__}: {error}; see workers.log") from error

    def _check_limits(self, number: int) -> None:
        reason = broken_limit(self._setup.objectives, self._trials[number])
        if reason is not None:
            raise _Invalid(reason)

    def _append(self, number: int, kind: EventKind, payload: dict[str, object]) -> None:
        self._context.append(kind, number, payload=payload)


def _first(group: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
