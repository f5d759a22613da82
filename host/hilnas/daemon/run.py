"""One search in this process, from a recipe to its results: what `hilnas run` calls."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hilnas.daemon.agents import Devices, connected_devices
from hilnas.energy import SearchEnergy
from hilnas.executors import Executor
from hilnas.farm import Farm
from hilnas.measuring import Measurer
from hilnas.measuring.canary import canary_model
from hilnas.options import OptionsError
from hilnas.plugins import Axis, find
from hilnas.recipe import Recipe, check_recipe
from hilnas.report.results import write_results
from hilnas.search.context import SearchContext
from hilnas.search.earlier import read_earlier
from hilnas.search.errors import SearchError
from hilnas.search.history import History
from hilnas.search.loop import SearchLoop
from hilnas.search.meters import energy_boundaries
from hilnas.search.on_device import DeviceAccuracy
from hilnas.search.setup import Setup, make_setup, make_space, make_task, task_facts
from hilnas.search.winners import Winners
from hilnas.store import RECORD_FILE, EventKind, ModelFiles, Record, SearchRow
from hilnas.store.codec import dump
from hilnas.store.lock import exclusive
from hilnas.trial import CanaryReading
from hilnas.versions import versions

T = TypeVar("T")


@dataclass
class Run:
    """A search under way, for whoever shows it."""

    recipe: Recipe
    folder: Path
    phase: str = "starting"
    """What is happening, in a word or two."""
    history: History | None = None
    loop: SearchLoop | None = None
    winners: Winners | None = None
    farm: Farm | None = None
    setup: Setup | None = None


async def run_search(
    recipe: Recipe,
    folder: Path,
    resume: bool,
    show: Callable[[Run], None] = lambda run: None,
    listen: Callable[[Any], None] | None = None,
) -> dict[str, Any]:
    """Run a search in `folder` to its end and return its results, as result.json holds them.

    `show` is given the run when it begins; `listen` gets each event once it is durable. Cancelling
    stops cleanly: the record holds all that was finished, and `resume` goes on from there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(recipe, folder)
    show(run)
    with exclusive(folder), ExitStack() as stack:
        history = run.history = History()

        def open_record() -> Record:
            record = stack.enter_context(closing(Record.in_folder(folder)))
            record.listen(history.add)
            if listen is not None:
                record.listen(listen)
            return record

        # A search that is refused before its first trial must leave no record that stands in the way.
        record = open_record() if (folder / RECORD_FILE).exists() else None
        search = _known(record, recipe, resume, folder, history) if record is not None else None
        run.phase = f"reading {recipe.task.name}"
        task = await _in_thread(lambda: make_task(recipe))
        earlier = None
        if recipe.search.warm_start and history.earlier is None:
            space = make_space(recipe, task.shape, task.classes)
            earlier = await _in_thread(lambda: read_earlier(recipe.search.warm_start, space))
        models, weights = model_files(folder)
        async with _machinery(run, models) as (devices, executor):
            run.farm = devices.farm
            setup = run.setup = make_setup(recipe, task, devices.facts)
            _same_world(history, setup, folder)
            record = record or open_record()
            search = search or record.start_search(
                recipe.search.name, recipe.search.seed, _recipe_data(recipe), versions()
            )
            session = str(len(history.sessions))
            facts = {
                "devices": [device.to_json() for device in devices.facts],
                "task": task_facts(task),
                "recipe": _recipe_data(recipe),
                "versions": versions(),
            }
            record.append(search.id, EventKind.SESSION_STARTED, key=session, payload=facts)
            if earlier is not None:  # copied, so that the search goes on the same whatever becomes of them
                record.append(
                    search.id, EventKind.EARLIER, payload={"trials": [dump(trial) for trial in earlier]}
                )
            host_energy = stack.enter_context(SearchEnergy())
            measurer = _measurer(devices.farm, recipe, models, record, search.id, history)
            try:
                accuracy = DeviceAccuracy(setup, measurer, models, example_files(folder))
                context = SearchContext(
                    setup, search.id, record, history, models, weights, measurer, executor, accuracy
                )
                loop = run.loop = SearchLoop(context)
                _one_thread()
                run.phase = "searching"
                await devices.unless_agent_fails(loop.run())
                run.phase = "training the winner"
                winners = run.winners = Winners(context, loop.strategy)
                await devices.unless_agent_fails(winners.run())
                record.append(search.id, EventKind.SEARCH_FINISHED, key=session)
            finally:
                host_energy.close()
                record.append(
                    search.id,
                    EventKind.SESSION_ENDED,
                    key=session,
                    payload={"host_energy": host_energy.told()},
                )
                run.phase = "writing results"
                results = write_results(record, search, folder)
        return results


async def _in_thread(function: Callable[[], T]) -> T:
    """Await a function in a thread that nobody waits for once this is cancelled (`to_thread` would)."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(setter: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            setter(value)

    def work() -> None:
        outcome: tuple[Callable[[Any], None], Any]
        try:
            outcome = (future.set_result, function())
        except BaseException as error:  # noqa: BLE001 - it is raised where the future is awaited
            outcome = (future.set_exception, error)
        with suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=work, name="reading", daemon=True).start()
    return await future


def _recipe_data(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude_unset=True)


def model_files(folder: Path) -> tuple[ModelFiles, ModelFiles]:
    """Return the models and the weights of a results folder."""
    return ModelFiles(folder / "models"), ModelFiles(folder / "weights", ".pt")


def example_files(folder: Path) -> ModelFiles:
    """Return the examples that devices are given."""
    return ModelFiles(folder / "models", ".npy")


def _known(record: Record, recipe: Recipe, resume: bool, folder: Path, history: History) -> SearchRow | None:
    """Return the search in the folder with its history, None when none was begun there."""
    known = record.searches()
    if not known:
        return None
    if not resume:
        raise SearchError(
            f"{folder} holds a search already: add --resume to go on with it, or choose another --out"
        )
    search = known[-1]
    _same_search(check_recipe(search.recipe), recipe, folder)
    for event in record.events(search.id):
        history.add(event)
    return search


def _same_search(recorded: Recipe, wanted: Recipe, folder: Path) -> None:
    """See that a search goes on as it began: what shapes proposals and figures must not change."""
    for section in ("task", "space", "strategy", "estimator", "objective", "measurement"):
        if getattr(recorded, section) != getattr(wanted, section):
            raise OptionsError(
                f"[{section}] is not what the search in {folder} began with: take that change back, "
                "or start anew with another --out"
            )
    for key in ("seed", "in_flight", "group", "warm_start"):
        before, after = getattr(recorded.search, key), getattr(wanted.search, key)
        if before != after:
            raise OptionsError(
                f"search.{key} is {after}, but the search in {folder} began with {before}: "
                "take that change back, or start anew with another --out"
            )


def _same_world(history: History, setup: Setup, folder: Path) -> None:
    """See that a search goes on with the data and the devices that it began with."""
    if not history.sessions:
        return
    before = history.sessions[0]
    facts = task_facts(setup.task)
    if any(facts.get(key) != value for key, value in before.task.items()):
        raise SearchError(
            f"the data of task {setup.task.name} is not what the search in {folder} began with: "
            "put it back, or start anew with another --out"
        )
    metered = energy_boundaries(setup.recipe.measurement.energy, before.devices, setup.boundaries)
    for name, boundary in metered.items():
        if setup.boundaries[name] != boundary:
            raise SearchError(
                f"the search in {folder} measured energy of {name} at the boundary {boundary}, its meters now see "
                f"{setup.boundaries[name]}, and such figures don't compare: name the meter it began with in "
                "measurement.energy.meter, or start anew with another --out"
            )
    known = {device.device_class for device in before.devices}
    strange = [name for name in setup.device_classes if name not in known]
    if strange:
        raise SearchError(
            f"the search in {folder} measured on {', '.join(sorted(known))}, not on {', '.join(strange)}: "
            "connect such a device, or start anew with another --out"
        )


@asynccontextmanager
async def _machinery(run: Run, models: ModelFiles) -> AsyncIterator[tuple[Devices, Executor]]:
    """Start the executor and everything that devices need; end them all, whatever happens."""
    recipe, folder = run.recipe, run.folder
    executor: Executor = find(Axis.EXECUTOR, recipe.executor.name)(recipe.options(Axis.EXECUTOR), folder)

    def prepare(farm: Farm) -> None:
        if recipe.farm.quiet:
            farm.on_measuring_here = lambda measuring: executor.pause() if measuring else executor.resume()

    def waiting(address: str) -> None:
        run.phase = f"waiting for {recipe.farm.devices} device(s) at {address}"

    try:
        examples = example_files(folder)
        async with connected_devices(
            recipe.farm, models, folder, waiting, prepare, examples=examples
        ) as devices:
            yield devices, executor
    finally:
        await executor.close()


def _measurer(
    farm: Farm, recipe: Recipe, models: ModelFiles, record: Record, search_id: str, history: History
) -> Measurer:
    """Return a measurer whose canaries are in the record, and go on from there."""

    def heard(reading: CanaryReading) -> None:
        key = f"{reading.device} {len(history.canaries)}"
        record.append(search_id, EventKind.CANARY, key=key, payload=dump(reading))

    canary = models.put(canary_model()) if recipe.measurement.canary.every else ""
    measurer = Measurer(farm, recipe.measurement, canary=canary, heard=heard)
    measurer.canaries.restore(history.canaries)
    return measurer


def _one_thread() -> None:
    """The controller's tensors are tiny: threads only cost, and one keeps every sum in one order."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
