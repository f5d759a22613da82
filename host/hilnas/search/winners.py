"""The end of a search: winners are retrained at length, measured as they ship, and meet the test split."""

import asyncio

from hilnas.executors import Executor, WorkerDiedError
from hilnas.export.errors import ExportError
from hilnas.farm import Farm
from hilnas.search.history import History, Winner
from hilnas.search.measuring import measure_once
from hilnas.search.setup import SearchError, Setup
from hilnas.search.work import train_winner
from hilnas.store import EventKind, ModelFiles, Record
from hilnas.store.codec import dump
from hilnas.tasks.training import TrainingError
from hilnas.trial import FIGURE_VERDICTS, ModelFacts, Trial, TrialStatus


class Winners:
    """Retrains the `final.top` best trials; what the record holds of it already is not done again."""

    def __init__(
        self,
        setup: Setup,
        search_id: str,
        record: Record,
        models: ModelFiles,
        weights: ModelFiles,
        farm: Farm,
        executor: Executor,
        history: History,
    ) -> None:
        self.setup = setup
        self.search_id = search_id
        self.record = record
        self.models = models
        self.weights = weights
        self.farm = farm
        self.executor = executor
        self.history = history

    async def run(self) -> None:
        """Train and measure all winners. SearchError, after the others are cancelled, when one cannot be."""
        chosen = best_trials(self.history.trials, self.setup.recipe.final.top)
        threads = max(1, self.executor.slots // max(1, len(chosen)))
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
        for device_class in self.setup.device_classes:
            if device_class not in measured:
                await self._measure(winner, device_class)

    def _recorded(self, trial: int) -> Winner | None:
        return next((winner for winner in self.history.winners if winner.trial == trial), None)

    async def _train(self, trial: Trial, threads: int) -> None:
        setup = self.setup
        try:
            (content, facts, accuracies, state), seconds = await self.executor.run(
                train_winner,
                trial.architecture,
                setup.space,
                setup.task,
                setup.recipe.final,
                setup.seed,
                threads,
            )
        except (ExportError, TrainingError, WorkerDiedError) as error:
            raise SearchError(
                f"the winner, trial {trial.number}, could not be retrained: {error}. "
                "Change [final] and use --resume"
            ) from error
        model = ModelFacts(self.models.put(content), facts.bytes, facts.macs, facts.parameters)
        winner = Winner(trial.number, model, accuracies, (), self.weights.put(state), seconds)
        self.record.append(self.search_id, EventKind.WINNER_TRAINED, trial.number, payload=dump(winner))

    async def _measure(self, winner: Winner, device_class: str) -> None:
        measurement = await measure_once(
            self.record,
            self.farm,
            self.search_id,
            winner.trial,
            winner.model.sha256,
            device_class,
            EventKind.WINNER_MEASURED,
        )
        if measurement.verdict not in FIGURE_VERDICTS:
            raise SearchError(
                f"the retrained winner, trial {winner.trial}, could not be measured: {measurement.verdict} on "
                f"{measurement.device or device_class}: {measurement.message}. Mend that and use --resume"
            )


def best_trials(trials: list[Trial], count: int) -> list[Trial]:
    """Return the `count` scored trials of the highest reward, one of each architecture."""
    scored = [t for t in trials if t.status is TrialStatus.SCORED and t.score is not None]
    ranked = sorted(scored, key=lambda t: (-(t.score.reward if t.score else 0.0), t.number))
    unique = {trial.architecture: trial for trial in reversed(ranked)}
    return [trial for trial in ranked if unique[trial.architecture] is trial][:count]
