"""One search in this process, from a recipe to its results: what `hilnas run` calls."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hilnas.daemon.agents import Devices, connected_devices
from hilnas.daemon.going_on import known_search, same_world
from hilnas.daemon.place import Place
from hilnas.energy import SearchEnergy
from hilnas.executors import Executor
from hilnas.farm import AnyFarm, Farm
from hilnas.measuring import Measurer
from hilnas.measuring.canary import canary_model
from hilnas.plugins import Axis, find
from hilnas.recipe import Recipe
from hilnas.report.results import write_results
from hilnas.search.context import SearchContext
from hilnas.search.earlier import read_earlier
from hilnas.search.hints import ProxyHints
from hilnas.search.history import History
from hilnas.search.loop import SearchLoop
from hilnas.search.on_device import DeviceAccuracy
from hilnas.search.preparation import Preparation, check_plugins
from hilnas.search.setup import Setup, make_setup, make_space, make_task, task_facts
from hilnas.search.winners import Winners
from hilnas.store import EventKind, ModelFiles, Record
from hilnas.store.codec import dump
from hilnas.store.lock import exclusive
from hilnas.trial import CanaryReading, Trial
from hilnas.versions import versions

T = TypeVar("T")


@dataclass
class Run:
    """A search under way, for whoever shows it."""

    recipe: Recipe
    place: Place
    phase: str = "starting"
    """What is happening, in a word or two."""
    history: History | None = None
    loop: SearchLoop | None = None
    winners: Winners | None = None
    preparation: Preparation | None = None
    farm: AnyFarm | None = None
    setup: Setup | None = None

    @property
    def folder(self) -> Path:
        """The folder of its results."""
        return self.place.folder


Machinery = Callable[[Run], AbstractAsyncContextManager[tuple[Devices, Executor]]]
"""Starts what a search needs beside itself, devices and an executor, and ends it."""


async def run_search(
    recipe: Recipe,
    place: Place,
    resume: bool,
    show: Callable[[Run], None] = lambda run: None,
    listen: Callable[[Any], None] | None = None,
    machinery: Machinery | None = None,
) -> dict[str, Any]:
    """Run a search to its end and return its results, as result.json in its folder holds them.

    `show` is given the run when it begins; `listen` gets each event once it is durable. Cancelling
    stops cleanly: the record holds all that was finished, and `resume` goes on from there. Without `machinery` it
    brings a farm of its own.
    """
    folder = place.folder
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(recipe, place)
    show(run)
    with exclusive(folder), ExitStack() as stack:
        history = run.history = History()

        def open_record() -> Record:
            record = stack.enter_context(closing(place.open_record()))
            record.listen(history.add)
            if listen is not None:
                record.listen(listen)
            return record

        # A search that is refused before its first trial must leave no record that stands in the way.
        record = open_record() if place.has_record() else None
        search = known_search(record, recipe, resume, place, history) if record is not None else None
        run.phase = f"reading {recipe.task.name}"
        task = await _in_thread(lambda: make_task(recipe))
        earlier: tuple[Trial, ...] = ()
        if recipe.search.warm_start and history.earlier is None:
            space = make_space(recipe, task.shape, task.classes)
            earlier = await _in_thread(lambda: read_earlier(recipe.search.warm_start, space, record))
        models = place.model_files()
        async with (machinery or own_machinery)(run) as (devices, executor):
            run.farm = devices.farm
            setup = run.setup = make_setup(recipe, task, devices.facts)
            same_world(history, setup, folder)
            if not history.sessions:
                await _in_thread(lambda: check_plugins(setup))
            record = record or open_record()
            search = search or record.start_search(
                recipe.search.name, recipe.search.seed, _recipe_data(recipe), versions()
            )
            session = str(len(history.sessions))
            record.append(
                search.id, EventKind.SESSION_STARTED, key=session, payload=_session_facts(setup, devices)
            )
            host_energy = stack.enter_context(SearchEnergy())
            measurer = _measurer(devices.farm, recipe, models, record, search.id, history)
            try:
                context = _context(run, setup, search.id, record, measurer, executor)
                await _learn_earlier(run, context, earlier, devices)
                loop = await _loop(run, context, devices)
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
                results = write_results(record, search, folder, models)
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


def _context(
    run: Run, setup: Setup, search_id: str, record: Record, measurer: Measurer, executor: Executor
) -> SearchContext:
    """Put together what the steps of the search work with."""
    place, history = run.place, run.history
    assert history is not None
    models, weights = place.model_files(), place.weight_files()
    tell = partial(_prepared, record, search_id)
    run.preparation = Preparation(setup, executor, history, weights, run.folder, tell)
    accuracy = DeviceAccuracy(setup, measurer, models, place.example_files())
    return SearchContext(
        setup, search_id, record, history, models, weights, measurer, executor, accuracy, run.preparation
    )


async def _learn_earlier(
    run: Run, context: SearchContext, earlier: tuple[Trial, ...], devices: Devices
) -> None:
    """Copy to the record what the strategy begins with, so that the search goes on the same whatever becomes of it."""
    if context.history.earlier is not None:
        return
    proxies, shares = run.recipe.search.warm_start_proxy, context.preparation.shares
    hints = ProxyHints(context.setup, context.executor, run.folder, lambda share: shares.update(hints=share))
    if proxies is not None:
        run.phase = f"scoring {proxies.architectures} architectures by {' + '.join(proxies.proxy)}"
        earlier = await devices.unless_agent_fails(hints.trials(earlier))
        shares.pop("hints", None)
    if earlier:
        context.append(EventKind.EARLIER, payload={"trials": [dump(trial) for trial in earlier]})
    hints.forget()


async def _loop(run: Run, context: SearchContext, devices: Devices) -> SearchLoop:
    """Return the loop, once the strategy has what it needs."""
    run.phase = "preparing the strategy"
    prepared = await devices.unless_agent_fails(context.preparation.strategy())
    run.loop = SearchLoop(context, prepared)
    return run.loop


def _prepared(record: Record, search_id: str, key: str, payload: dict[str, Any]) -> None:
    record.append(search_id, EventKind.PREPARED, key=key, payload=payload)


def _session_facts(setup: Setup, devices: Devices) -> dict[str, Any]:
    return {
        "devices": [device.to_json() for device in devices.facts],
        "task": task_facts(setup.task),
        "recipe": _recipe_data(setup.recipe),
        "versions": versions(),
    }


def _recipe_data(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude_unset=True)


@asynccontextmanager
async def own_machinery(run: Run) -> AsyncIterator[tuple[Devices, Executor]]:
    """Start the executor and a farm for this search alone; end them all, whatever happens."""
    recipe, folder = run.recipe, run.folder
    executor: Executor = find(Axis.EXECUTOR, recipe.executor.name)(recipe.options(Axis.EXECUTOR), folder)

    def prepare(farm: Farm) -> None:
        if recipe.farm.quiet:
            farm.here.on_change = lambda measuring: executor.pause() if measuring else executor.resume()

    def waiting(address: str) -> None:
        run.phase = f"waiting for {recipe.farm.devices} device(s) at {address}"

    try:
        models, examples = run.place.model_files(), run.place.example_files()
        async with connected_devices(
            recipe.farm, models, folder, waiting, prepare, examples=examples
        ) as devices:
            yield devices, executor
    finally:
        await executor.close()


def _measurer(
    farm: AnyFarm, recipe: Recipe, models: ModelFiles, record: Record, search_id: str, history: History
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
