"""Nets of a trained supernet for devices: what `hilnas specialise` calls."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hilnas.daemon.latency_sources import LOCAL_DEVICE, Alike, Sources
from hilnas.daemon.phases import Phases
from hilnas.estimators.supernet import Supernet, SupernetOptions
from hilnas.executors import Executor, WorkerDiedError
from hilnas.farm import FarmError, FarmOptions, MeasurementOptions
from hilnas.plugins import Axis, find, options_of
from hilnas.recipe import Recipe, check_recipe, load_recipe
from hilnas.search.history import rebuild
from hilnas.search.preparation import ESTIMATOR
from hilnas.search.setup import make_space, make_task
from hilnas.search.specialise import Specialisation, SupernetAnswers, as_hints, specialise
from hilnas.search.study import Findings
from hilnas.search.work import export_provisional, finish_specialised
from hilnas.store import RECORD_FILE, EventKind, ModelFiles, Record, SearchRow
from hilnas.store.latency_table import TableError
from hilnas.strategies import Problem, Strategy
from hilnas.supernet.file import SupernetError, SupernetFile
from hilnas.tasks.training import TrainingError
from hilnas.trial import Architecture, Trial


@dataclass(frozen=True)
class Goal:
    """A device, by name or by its latency table, and what its net may take."""

    device: str
    """Name of the device; this machine when empty."""
    target_ms: float
    table: Path | None = None


def goal_name(goal: Goal) -> str:
    """Return the name of a goal's device, or of its table."""
    return goal.table.stem if goal.table else goal.device or LOCAL_DEVICE


@dataclass(frozen=True)
class Settings:
    """How to specialise."""

    candidates: int = 48
    """Nets to try for each device."""
    fine_tune: int = 0
    """Epochs of training that the chosen net gets with its own weights."""
    strategy: str = "rl"
    seed: int = 0
    alike: Alike = field(default_factory=Alike)
    """Other devices' latency tables, to measure a few nets of each device alone."""


@dataclass(frozen=True)
class Specialised:
    """What was found for one device."""

    goal: Goal
    name: str
    found: Specialisation | None
    """None where the device, or its table, failed."""
    model: bytes
    """The int8 file, fine-tuned where that was asked for; empty where there is no net within the target."""
    facts: dict[str, Any]
    """Accuracies of the int8 file, validation and test, and whether the fine-tuned one was better."""
    failure: str = ""
    """Why there is nothing: the device did not come, or its table lacks a part."""


def read_supernet(source: Path) -> bytes:
    """Return a supernet's file: the file itself, or that of a search in a results folder."""
    if source.is_dir():
        return _of_search(source)
    try:
        return source.read_bytes()
    except OSError as error:
        raise SupernetError(
            f"{source} cannot be read ({error.strerror}): name a file of `hilnas supernet`, or the results folder of "
            'a search with estimator "supernet"'
        ) from error


def recipe_of(content: bytes, name: str, overrides: Sequence[str]) -> Recipe:
    """Return the task and space that a supernet was trained for, as a recipe."""
    file = SupernetFile.from_bytes(content, name)
    origin = file.origin
    if "task" not in origin or "space" not in origin:
        raise SupernetError(
            f"{name} does not say of which task and space it is: train it with `hilnas supernet`"
        )
    data = {
        "task": origin["task"],
        "space": origin["space"],
        "search": {"seed": origin.get("seed", 0)},
        "objective": [{"quantity": "accuracy"}],
    }
    recipe = load_recipe(data, overrides)
    file.check_origin({"task": recipe.model_dump(mode="json")["task"], "seed": recipe.search.seed}, name)
    return recipe


def specialise_all(
    content: bytes,
    recipe: Recipe,
    goals: Sequence[Goal],
    settings: Settings,
    farm: FarmOptions,
    measurement: MeasurementOptions,
    folder: Path,
    show: Phases,
    keep: Callable[[Specialised], object] = lambda one: None,
) -> list[Specialised]:
    """Find a net for each goal, one after the other; `keep` gets each as soon as it is there.

    A device that fails costs the others nothing: what it said is in its `failure`.
    """
    return asyncio.run(_all(content, recipe, goals, settings, farm, measurement, folder, show, keep))


async def _all(
    content: bytes,
    recipe: Recipe,
    goals: Sequence[Goal],
    settings: Settings,
    farm: FarmOptions,
    measurement: MeasurementOptions,
    folder: Path,
    show: Phases,
    keep: Callable[[Specialised], object],
) -> list[Specialised]:
    show.phase = f"reading {recipe.task.name}"
    task = await asyncio.to_thread(make_task, recipe)
    space = make_space(recipe, task.shape, task.classes)
    SupernetFile.from_bytes(content, "the supernet").check(space, "the supernet")
    tables = [goal.table for goal in goals if goal.table]

    async def export(architecture: Architecture) -> bytes:
        (model, _), _ = await executor.run(export_provisional, architecture, space, task)
        return model

    sources = Sources(farm, measurement, space, tables, show, settings.alike, export)
    executor: Executor = find(Axis.EXECUTOR, recipe.executor.name)(recipe.options(Axis.EXECUTOR), folder)
    estimator = Supernet(SupernetOptions(), content)
    answers = SupernetAnswers(estimator, space, task, executor, settings.seed)
    work = _Work(content, settings, sources, answers, executor, show)
    show.total = len(goals) * settings.candidates
    found: list[Specialised] = []
    try:
        for goal in goals:
            found.append(await work.one(goal))
            keep(found[-1])
            show.done = len(found) * settings.candidates
    finally:
        await executor.close()
    return found


class _Work:
    """Goes from goal to goal; what one has taught is a hint for the next."""

    def __init__(
        self,
        content: bytes,
        settings: Settings,
        sources: Sources,
        answers: SupernetAnswers,
        executor: Executor,
        show: Phases,
    ) -> None:
        self._content, self._settings, self._sources = content, settings, sources
        self._answers, self._executor, self._show = answers, executor, show
        self._hints: list[Trial] = []

    async def one(self, goal: Goal) -> Specialised:
        """Find a goal's net; a failure that is no other goal's is told in the answer."""
        name = goal_name(goal)
        try:
            async with self._sources.of(goal.device, goal.table) as source:
                self._show.phase = f"trying nets on {name}"
                found = Specialisation(source, goal.target_ms)
                await specialise(
                    found, self._answers, self._strategy, self._settings.candidates, self._hints, self._tried
                )
            self._hints += as_hints(found.trials)
            self._show.phase = f"finishing the net for {name}"
            return Specialised(goal, name, found, *await self._finished(found))
        except (FarmError, TableError, TrainingError, WorkerDiedError) as error:
            return Specialised(goal, name, None, b"", {}, str(error))

    async def _finished(self, found: Specialisation) -> tuple[bytes, dict[str, Any]]:
        if found.chosen is None:
            return b"", {}
        return await self._executor.run(
            finish_specialised,
            self._content,
            found.model,
            found.chosen.architecture,
            self._answers.space,
            self._answers.task,
            self._settings.seed,
            self._settings.fine_tune,
        )

    def _strategy(self, problem: Problem) -> Strategy:
        name = self._settings.strategy
        options = options_of(Axis.STRATEGY, name, {})
        made: Strategy = find(Axis.STRATEGY, name)(problem, options, self._settings.seed)
        return made

    def _tried(self) -> None:
        self._show.done += 1


def _of_search(folder: Path) -> bytes:
    if not (folder / RECORD_FILE).is_file():
        raise SupernetError(f"{folder} holds no {RECORD_FILE}: name a results folder, or a supernet's file")
    with closing(Record.in_folder(folder)) as record:
        digests = [_prepared_supernet(record, search) for search in record.searches()]
    digest = digests[-1] if digests else None
    if digest is None:
        raise SupernetError(
            f'the search in {folder} has trained no supernet: it needs estimator "supernet", and to have come so far'
        )
    try:
        return ModelFiles(folder / "weights", ".pt").get(digest)
    except (OSError, ValueError) as error:
        raise SupernetError(f"the supernet of {folder} cannot be read: {error}") from error


def _prepared_supernet(record: Record, search: SearchRow) -> str | None:
    """Return the digest of the supernet that a search, or a study of estimators, has trained."""
    events = record.events(search.id)
    if any(event.kind is EventKind.STUDY_STARTED for event in events):
        findings = Findings()
        for event in events:
            findings.add(event)
        found = [
            digest
            for label, (digest, _) in findings.prepared.items()
            if label.partition(":")[0] == "supernet"
        ]
        return found[-1] if found else None
    if check_recipe(search.recipe).estimator.name != "supernet":
        return None
    return rebuild(events).prepared.get(ESTIMATOR)
