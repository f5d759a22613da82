"""A family of one base net for latency targets of a device: what `hilnas scale` calls."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilnas.daemon.measure import Bench, bench
from hilnas.daemon.phases import Phases
from hilnas.executors import Executor
from hilnas.farm import FarmError, FarmOptions, Fidelity, MeasurementOptions
from hilnas.options import OptionsError
from hilnas.plugins import Axis, find
from hilnas.recipe import Recipe
from hilnas.search.scaling import Compound, Family, Member
from hilnas.search.setup import make_space, make_task
from hilnas.search.work import export_provisional, train_winner
from hilnas.spaces import Space, SpaceError
from hilnas.tasks import Task
from hilnas.trial import DEVICE_FAULTS, FIGURE_VERDICTS, Architecture, Measurement


@dataclass(frozen=True)
class Scaled:
    """What was found for one target."""

    target_ms: float
    member: Member | None
    """None where not even the smallest net keeps to the target."""
    model: bytes = b""
    """The int8 file; of fresh weights where nothing was trained."""
    accuracies: dict[str, float] | None = None
    measurement: Measurement | None = None
    """Of that file, in full."""


def scale_family(
    recipe: Recipe,
    base: Architecture,
    targets_ms: Sequence[float],
    compound: Compound,
    train: bool,
    farm: FarmOptions,
    measurement: MeasurementOptions,
    device: str,
    folder: Path,
    show: Phases,
) -> list[Scaled]:
    """Find a member of the base's family for each target, train it as [final] says, and measure it in full."""
    return asyncio.run(
        _family(recipe, base, targets_ms, compound, train, farm, measurement, device, folder, show)
    )


async def _family(
    recipe: Recipe,
    base: Architecture,
    targets_ms: Sequence[float],
    compound: Compound,
    train: bool,
    farm: FarmOptions,
    measurement: MeasurementOptions,
    device: str,
    folder: Path,
    show: Phases,
) -> list[Scaled]:
    show.phase = f"reading {recipe.task.name}"
    task = await asyncio.to_thread(make_task, recipe)
    space = make_space(recipe, task.shape, task.classes)
    try:
        space.check(base)
    except SpaceError as error:
        raise OptionsError(f"{error}. --recipe must name the recipe that the architecture is of") from error
    space.scaled(base, 1.0, 1.0, 1.0)  # a space that cannot scale says so here
    executor: Executor = find(Axis.EXECUTOR, recipe.executor.name)(recipe.options(Axis.EXECUTOR), folder)
    show.phase = f"waiting for {device or 'this machine'}"
    try:
        async with bench(farm, measurement, device) as place:
            show.phase, show.total = f"scaling on {place.device.name}", len(targets_ms)
            family = Family(space, base, compound, lambda s, net: _latency(place, executor, task, s, net))
            found = []
            for target in sorted(targets_ms):
                found.append((target, await family.largest_within(target)))
                show.done += 1
            return await _finished(found, recipe, task, place, executor, train, show)
    finally:
        await executor.close()


async def _latency(place: Bench, executor: Executor, task: Task, space: Space, net: Architecture) -> float:
    """Return the latency of a net with fresh weights, in ms; infinite for one that the device cannot run."""
    (content, _), _ = await executor.run(export_provisional, net, space, task)
    (measured,) = await place.measure([content], Fidelity.SCREEN)
    if measured.verdict in DEVICE_FAULTS:
        raise FarmError(f"{measured.verdict} on {measured.device}: {measured.message}")
    if measured.verdict not in FIGURE_VERDICTS or measured.latency is None:
        return math.inf
    return measured.latency.median_ms


async def _finished(
    found: Sequence[tuple[float, Member | None]],
    recipe: Recipe,
    task: Task,
    place: Bench,
    executor: Executor,
    train: bool,
    show: Phases,
) -> list[Scaled]:
    """Train and measure each member; one that serves two targets once."""
    done: dict[str, Scaled] = {}
    show.total, show.done = len([member for _, member in found if member]), 0
    rows = []
    for target, member in found:
        if member is None:
            rows.append(Scaled(target, None))
            continue
        key = member.space.structure(member.architecture)
        if key not in done:
            show.phase = "training and measuring" if train else "measuring"
            done[key] = await _one(target, member, recipe, task, place, executor, train)
        show.done += 1
        one = done[key]
        rows.append(Scaled(target, member, one.model, one.accuracies, one.measurement))
    return rows


async def _one(
    target: float,
    member: Member,
    recipe: Recipe,
    task: Task,
    place: Bench,
    executor: Executor,
    train: bool,
) -> Scaled:
    accuracies: dict[str, Any] | None = None
    if train:
        (final, _), _ = await executor.run(
            train_winner,
            member.architecture,
            member.space,
            task,
            recipe.final,
            recipe.search.seed,
            executor.threads(1),
        )
        content, accuracies = final.quantized.model, final.accuracies
    else:
        (content, _), _ = await executor.run(export_provisional, member.architecture, member.space, task)
    (measured,) = await place.measure([content], Fidelity.FULL)
    return Scaled(target, member, content, accuracies, measured)
