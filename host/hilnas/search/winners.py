"""The end of a search: winners are retrained at length, measured as they ship, and meet the test split."""

from hilnas.executors import Executor
from hilnas.farm import Farm
from hilnas.search.history import History, Winner
from hilnas.search.setup import Setup
from hilnas.search.work import train_winner
from hilnas.store import EventKind, ModelFiles, Record
from hilnas.store.codec import dump
from hilnas.store.record import without_samples
from hilnas.trial import ModelFacts, Trial, TrialStatus


async def train_winners(
    setup: Setup,
    search_id: str,
    record: Record,
    models: ModelFiles,
    weights: ModelFiles,
    farm: Farm,
    executor: Executor,
    history: History,
) -> None:
    """Retrain the `final.top` best trials that are not retrained yet; each becomes a WINNER_TRAINED."""
    import asyncio

    done = {winner.trial for winner in history.winners}
    chosen = [
        trial for trial in best_trials(history.trials, setup.recipe.final.top) if trial.number not in done
    ]

    threads = max(1, executor.slots // max(1, len(chosen)))

    async def train_one(trial: Trial) -> None:
        (content, facts, accuracies, state), seconds = await executor.run(
            train_winner, trial.architecture, setup.space, setup.task, setup.recipe.final, setup.seed, threads
        )
        model = ModelFacts(models.put(content), facts.bytes, facts.macs, facts.parameters)
        measurements = tuple(
            [without_samples(await farm.measure(model.sha256, name)) for name in setup.device_classes]
        )
        winner = Winner(trial.number, model, accuracies, measurements, weights.put(state), seconds)
        record.append(search_id, EventKind.WINNER_TRAINED, key=str(trial.number), payload=dump(winner))

    async with asyncio.TaskGroup() as group:
        for trial in chosen:
            group.create_task(train_one(trial))


def best_trials(trials: list[Trial], count: int) -> list[Trial]:
    """Return the `count` scored trials of the highest reward, one of each architecture."""
    scored = [t for t in trials if t.status is TrialStatus.SCORED and t.score is not None]
    ranked = sorted(scored, key=lambda t: (-(t.score.reward if t.score else 0.0), t.number))
    unique = {trial.architecture: trial for trial in reversed(ranked)}
    return [trial for trial in ranked if unique[trial.architecture] is trial][:count]
