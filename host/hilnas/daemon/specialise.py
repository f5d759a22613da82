"""Nets of a trained supernet for devices: what `hilnas specialise` calls."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilnas.daemon.measure import Bench, bench
from hilnas.daemon.phases import Phases
from hilnas.estimators.supernet import Supernet, SupernetOptions
from hilnas.executors import Executor
from hilnas.farm import FarmOptions, Fidelity, MeasurementOptions
from hilnas.options import OptionsError
from hilnas.plugins import Axis, find, options_of
from hilnas.recipe import Recipe, check_recipe, load_recipe
from hilnas.search.history import rebuild
from hilnas.search.preparation import ESTIMATOR
from hilnas.search.setup import make_space, make_task
from hilnas.search.specialise import Specialisation, SupernetAnswers, as_hints, specialise
from hilnas.search.work import finish_specialised
from hilnas.spaces import Space
from hilnas.store import RECORD_FILE, ModelFiles, Record
from hilnas.store.latency_table import LatencyTable
from hilnas.strategies import Problem, Strategy
from hilnas.supernet.file import SupernetError, SupernetFile
from hilnas.trial import Architecture, Latency, Measurement, Trial, Verdict

TABLE_RUNTIME = "latency table"
"""Stands for the runtime where figures are sums out of a table."""


@dataclass(frozen=True)
class Goal:
    """A device, by name or by its latency table, and what its net may take."""

    device: str
    """Name of the device; this machine when empty."""
    target_ms: float
    table: Path | None = None


@dataclass(frozen=True)
class Settings:
    """How to specialise."""

    candidates: int = 48
    """Nets to try for each device."""
    fine_tune: int = 0
    """Epochs of training that the chosen net gets with its own weights."""
    strategy: str = "rl"
    seed: int = 0


@dataclass(frozen=True)
class Specialised:
    """What was found for one device."""

    goal: Goal
    name: str
    found: Specialisation
    model: bytes
    """The int8 file, fine-tuned where that was asked for; empty where there is no net within the target."""
    facts: dict[str, Any]
    """Accuracies of the int8 file, validation and test, and whether the fine-tuned one was better."""


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
    origin = SupernetFile.from_bytes(content, name).origin
    if "task" not in origin or "space" not in origin:
        raise SupernetError(
            f"{name} does not say of which task and space it is: train it with `hilnas supernet`"
        )
    data = {
        "task": origin["task"],
        "space": origin["space"],
        "search": {"seed": int(origin.get("seed", 0))},
        "objective": [{"quantity": "accuracy"}],
    }
    return load_recipe(data, overrides)


def specialise_all(
    content: bytes,
    recipe: Recipe,
    goals: Sequence[Goal],
    settings: Settings,
    farm: FarmOptions,
    measurement: MeasurementOptions,
    folder: Path,
    show: Phases,
) -> list[Specialised]:
    """Find a net for each goal, one after the other."""
    return asyncio.run(_all(content, recipe, goals, settings, farm, measurement, folder, show))


async def _all(
    content: bytes,
    recipe: Recipe,
    goals: Sequence[Goal],
    settings: Settings,
    farm: FarmOptions,
    measurement: MeasurementOptions,
    folder: Path,
    show: Phases,
) -> list[Specialised]:
    show.phase = f"reading {recipe.task.name}"
    task = await asyncio.to_thread(make_task, recipe)
    space = make_space(recipe, task.shape, task.classes)
    SupernetFile.from_bytes(content, "the supernet").check(space, "the supernet")
    tables = {goal: _table(goal.table, space) for goal in goals if goal.table is not None}
    estimator = Supernet(SupernetOptions(), content)
    show.total = len(goals) * settings.candidates
    executor: Executor = find(Axis.EXECUTOR, recipe.executor.name)(recipe.options(Axis.EXECUTOR), folder)
    answers = SupernetAnswers(estimator, space, task, executor, settings.seed)
    found: list[Specialised] = []
    hints: list[Trial] = []

    def make_strategy(problem: Problem) -> Strategy:
        options = options_of(Axis.STRATEGY, settings.strategy, {})
        made: Strategy = find(Axis.STRATEGY, settings.strategy)(problem, options, settings.seed)
        return made

    def done() -> None:
        show.done += 1

    try:
        for goal in goals:
            async with AsyncExitStack() as stack:
                if goal in tables:
                    one = Specialisation(TableSource(tables[goal], space), goal.target_ms)
                    name = tables[goal].path.stem
                else:
                    show.phase = f"waiting for {goal.device or 'this machine'}"
                    here = farm.model_copy(update={"local_agent": not goal.device})
                    place = await stack.enter_async_context(bench(here, measurement, goal.device))
                    one, name = Specialisation(BenchSource(place), goal.target_ms), place.device.name
                show.phase = f"trying nets on {name}"
                await specialise(one, answers, make_strategy, settings.candidates, hints, done)
            hints += as_hints(one.trials)
            show.phase = f"finishing the net for {name}"
            model, facts = await _finish(one, content, answers, executor, settings)
            found.append(Specialised(goal, name, one, model, facts))
    finally:
        await executor.close()
    return found


async def _finish(
    one: Specialisation, content: bytes, answers: SupernetAnswers, executor: Executor, settings: Settings
) -> tuple[bytes, dict[str, Any]]:
    if one.chosen is None:
        return b"", {}
    return await executor.run(
        finish_specialised,
        content,
        one.model,
        one.chosen.architecture,
        answers.space,
        answers.task,
        settings.seed,
        settings.fine_tune,
    )


@dataclass(frozen=True)
class BenchSource:
    """Latencies by a device."""

    place: Bench

    @property
    def device_class(self) -> str:
        """Class of the device."""
        return self.place.device.device_class

    async def measure(
        self, nets: Sequence[tuple[Architecture, bytes]], final: bool = False
    ) -> list[Measurement]:
        """Measure the int8 files, in turns."""
        if not nets:
            return []
        fidelity = Fidelity.FULL if final else Fidelity.SCREEN
        return await self.place.measure([model for _, model in nets], fidelity)


@dataclass(frozen=True)
class TableSource:
    """Latencies by a table of parts."""

    table: LatencyTable
    space: Space

    @property
    def device_class(self) -> str:
        """Class that the table is of."""
        return self.table.head.device_class

    async def measure(
        self, nets: Sequence[tuple[Architecture, bytes]], final: bool = False
    ) -> list[Measurement]:
        """Add parts up; the error is the table's, on the nets that it was held against."""
        quality = self.table.quality()
        error = quality.median_error if quality is not None else 0.1
        return [self._measurement(architecture, error) for architecture, _ in nets]

    def _measurement(self, architecture: Architecture, error: float) -> Measurement:
        ms = self.table.latency_ms([part.key for part in self.space.parts(architecture)])
        low, high = ms * (1 - error), ms * (1 + error)
        latency = Latency(ms, low, high, low, high, high, ms * error, 0.0, ms, 0)
        return Measurement(
            self.table.path.name,
            self.device_class,
            "",
            self.table.head.protocol_hash,
            TABLE_RUNTIME,
            Verdict.TRUSTED,
            latency=latency,
        )


def _table(path: Path, space: Space) -> LatencyTable:
    table = LatencyTable.read(path)
    if table.head.space != space.name:
        raise OptionsError(f"{path} is of the space {table.head.space}, the supernet of {space.name}")
    return table


def _of_search(folder: Path) -> bytes:
    if not (folder / RECORD_FILE).is_file():
        raise SupernetError(f"{folder} holds no {RECORD_FILE}: name a results folder, or a supernet's file")
    with closing(Record.in_folder(folder)) as record:
        digests = [
            rebuild(record.events(search.id)).prepared.get(ESTIMATOR)
            for search in record.searches()
            if check_recipe(search.recipe).estimator.name == "supernet"
        ]
    if not digests or digests[-1] is None:
        raise SupernetError(
            f'the search in {folder} has trained no supernet: it needs estimator "supernet", and to have come so far'
        )
    try:
        return ModelFiles(folder / "weights", ".pt").get(digests[-1])
    except (OSError, ValueError) as error:
        raise SupernetError(f"the supernet of {folder} cannot be read: {error}") from error
