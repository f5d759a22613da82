"""The end of a search: winners are retrained at length, measured as they ship, and meet the test split."""

import asyncio

from hilnas.executors import WorkerDiedError
from hilnas.export.errors import ExportError
from hilnas.search.context import SearchContext
from hilnas.search.errors import SearchError
from hilnas.search.history import Winner
from hilnas.search.work import train_winner
from hilnas.store import EventKind
from hilnas.store.codec import dump
from hilnas.strategies import Strategy
from hilnas.tasks.training import TrainingError
from hilnas.trial import FIGURE_VERDICTS, ModelFacts, Trial

_BEFORE = {
    "quantization": "minmax",
    "percentile": 99.99,
    "bias_correction": False,
    "qat_epochs": 0,
    "qat_learning_rate": 1e-3,
}
"""What the record of a winner leaves out that was trained before these could be set: they were so."""


class Winners:
    """Retrains the `final.top` best trials; what the record holds of it already is not done again.

    A change of [final] is a reason to train anew: the later winner of a trial replaces the earlier one.
    """

    def __init__(self, context: SearchContext, strategy: Strategy) -> None:
        self._context = context
        self._strategy = strategy
        self._setup = context.setup
        self._history = context.history
        self._training = context.setup.recipe.final.model_dump(mode="json", exclude={"top"})
        # A winner that is trained anew, in a later session, has events of its own.
        self._session = str(len(self._history.sessions))
        self.shares: dict[int, float] = {}
        """Share of the epochs done of each winner in training."""

    async def run(self) -> None:
        """Train and measure all winners. SearchError, after the others are cancelled, when one cannot be."""
        chosen = self._strategy.rank(self._history.trials)[: self._setup.recipe.final.top]
        threads = self._context.executor.threads(len(chosen))
        try:
            async with asyncio.TaskGroup() as group:
                for trial in chosen:
                    group.create_task(self._one(trial, threads))
        except* SearchError as errors:
            raise errors.exceptions[0] from None

    async def _one(self, trial: Trial, threads: int) -> None:
        winner = self._recorded(trial.number)
        if winner is None:
            await self._train(trial, threads)
            winner = self._recorded(trial.number)
        assert winner is not None
        measured = {measurement.device_class for measurement in winner.measurements}
        for device_class in self._setup.device_classes:
            if device_class not in measured:
                await self._measure(winner, device_class)
            if self._setup.recipe.measurement.accuracy.where != "host":
                await self._agree(winner, device_class)

    def _recorded(self, trial: int) -> Winner | None:
        found = (
            w
            for w in self._history.winners
            if w.trial == trial and {**_BEFORE, **w.training} == self._training
        )
        return next(found, None)

    async def _train(self, trial: Trial, threads: int) -> None:
        setup = self._setup
        try:
            (final, facts), seconds = await self._context.executor.run(
                train_winner,
                trial.architecture,
                setup.space,
                setup.task,
                setup.recipe.final,
                setup.seed,
                threads,
                told=lambda share: self.shares.update({trial.number: share}),
            )
        except (ExportError, TrainingError, WorkerDiedError) as error:
            raise SearchError(
                f"the winner, trial {trial.number}, could not be retrained: {error}. "
                "Change [final] and use --resume"
            ) from error
        file = self._context.models.put(final.quantized.model)
        winner = Winner(
            trial.number,
            ModelFacts(file, facts.bytes, facts.macs, facts.parameters),
            final.accuracies,
            (),
            self._context.weights.put(final.weights),
            seconds,
            self._training,
            quantization=final.quantized.choice,
            quantization_accuracies=final.quantized.accuracies,
        )
        self._context.append(EventKind.WINNER_TRAINED, trial.number, self._session, dump(winner))

    async def _agree(self, winner: Winner, device_class: str) -> None:
        """Compare the device's outputs with the host's, unless that is known."""
        if any(known.device_class == device_class for known in winner.agreements):
            return
        try:
            found = await self._context.accuracy.check(winner.model.sha256, device_class)
        except ValueError as error:
            raise SearchError(
                f"the accuracy of the retrained winner, trial {winner.trial}, could not be checked: {error}. "
                "Mend that and use --resume"
            ) from error
        key = f"{device_class} {self._session}"
        self._context.append(EventKind.WINNER_CHECKED, winner.trial, key, dump(found))

    async def _measure(self, winner: Winner, device_class: str) -> None:
        measurement = await self._context.measure_once(
            winner.trial,
            winner.model.sha256,
            device_class,
            EventKind.WINNER_MEASURED,
            key=f"{device_class} {self._session}",
        )
        if measurement.verdict not in FIGURE_VERDICTS:
            why = f"{measurement.verdict} on {measurement.device or device_class}: {measurement.message}"
        else:
            why = self._context.meter_problem(measurement)
        if why:
            raise SearchError(
                f"the retrained winner, trial {winner.trial}, could not be measured: {why}. "
                "Mend that and use --resume"
            )
