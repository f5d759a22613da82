"""What a recipe comes to: the task, space, strategy, estimator and objectives, checked against devices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hilnas.estimators import Estimator
from hilnas.farm.devices import DeviceFacts
from hilnas.objectives import MEASURED, Objective, Quantity
from hilnas.options import OptionsError, nearest
from hilnas.plugins import Axis, find
from hilnas.recipe import Recipe
from hilnas.search.errors import SearchError
from hilnas.search.meters import energy_boundaries, unmetered
from hilnas.spaces import Space
from hilnas.strategies import Problem, Strategy
from hilnas.tasks import SplitName, Task
from hilnas.tasks.resize import RESIZE
from hilnas.trial import Trial

_SPLITS: Final[tuple[SplitName, ...]] = ("train", "validation", "test")


@dataclass(frozen=True)
class Setup:
    """The parts of one search."""

    recipe: Recipe
    task: Task
    space: Space
    estimator: Estimator
    objectives: tuple[Objective, ...]
    """With the device classes filled in."""
    device_classes: tuple[str, ...]
    """Classes on which each candidate is measured."""
    boundaries: Mapping[str, str]
    """What the energy meters of a class see, for the classes whose energy can be measured."""

    @property
    def seed(self) -> int:
        """The search's seed."""
        return self.recipe.search.seed

    def has_energy_objective(self, device_class: str) -> bool:
        """Is energy on this class among the objectives?"""
        return any(o.quantity is Quantity.ENERGY and o.device_class == device_class for o in self.objectives)

    def wants_energy(self, device_class: str, winner: bool) -> bool:
        """Is the energy of candidates, or of winners, to be measured on this class?"""
        when = self.recipe.measurement.energy.when
        also = when == "always" or (when == "winners" and winner)
        return self.has_energy_objective(device_class) or (also and device_class in self.boundaries)

    def new_strategy(self, earlier: tuple[Trial, ...] = (), prepared: bytes = b"") -> Strategy:
        """Return the strategy before its first proposal, with trials of `earlier` searches and what it `prepared`."""
        strategy: Strategy = find(Axis.STRATEGY, self.recipe.strategy.name)(
            Problem(self.space, self.objectives, earlier, prepared),
            self.recipe.options(Axis.STRATEGY),
            self.seed,
        )
        return strategy


def make_task(recipe: Recipe) -> Task:
    """Return the task with its data read and checked. TaskError says what is wrong with it."""
    task: Task = find(Axis.TASK, recipe.task.name)(recipe.options(Axis.TASK), recipe.search.seed)
    _ = task.normalisation
    return task


def make_space(recipe: Recipe, shape: tuple[int, int, int], classes: int) -> Space:
    """Return the space for pictures of a shape [C, H, W] and a number of classes."""
    space: Space = find(Axis.SPACE, recipe.space.name)(shape, classes, recipe.options(Axis.SPACE))
    return space


def task_facts(task: Task) -> dict[str, Any]:
    """Return what a report must know of a task whose data may be elsewhere; JSON."""
    normalisation = task.normalisation
    return {
        "name": task.name,
        "preparation": task.preparation,
        "shape": list(task.shape),
        "labels": list(task.labels),
        "examples": {name: len(task.split(name)) for name in _SPLITS},
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
        "resize": RESIZE,
    }


def make_setup(recipe: Recipe, task: Task, devices: Sequence[DeviceFacts]) -> Setup:
    """Put the parts together. SearchError when no device can measure an objective."""
    strategy = find(Axis.STRATEGY, recipe.strategy.name)
    for key in ("warm_start", "warm_start_proxy"):
        if getattr(recipe.search, key) and not getattr(strategy, "warm_starts", False):
            raise OptionsError(
                f'search.{key} is set, but the strategy "{recipe.strategy.name}" learns nothing from earlier '
                'searches: take it out, or search with "rl"'
            )
    objectives = resolve_objectives(recipe, devices)
    _check_runtime(recipe.measurement.runtime, objectives, devices)
    _check_defaults(recipe.measurement.runtime, objectives, devices)
    asked = [o.device_class for o in objectives if o.device_class is not None]
    classes = tuple(dict.fromkeys(asked))
    return Setup(
        recipe=recipe,
        task=task,
        space=make_space(recipe, task.shape, task.classes),
        estimator=find(Axis.ESTIMATOR, recipe.estimator.name)(recipe.options(Axis.ESTIMATOR)),
        objectives=objectives,
        device_classes=classes,
        boundaries=energy_boundaries(recipe.measurement.energy, devices, _metered(recipe, objectives)),
    )


def _metered(recipe: Recipe, objectives: Sequence[Objective]) -> list[str]:
    """Return the classes whose energy is wanted; meters of others need not agree."""
    everything = recipe.measurement.energy.when != "objective"
    return [
        o.device_class
        for o in objectives
        if o.device_class is not None and (everything or o.quantity is Quantity.ENERGY)
    ]


def _check_runtime(runtime: str, objectives: Sequence[Objective], devices: Sequence[DeviceFacts]) -> None:
    """See that every device that will measure has the runtime asked for."""
    classes = {objective.device_class for objective in objectives}
    for device in devices:
        offered = [name.split()[0] for name in device.runtimes]
        if runtime and device.device_class in classes and runtime not in offered:
            raise SearchError(
                f'measurement.runtime is "{runtime}", but {device.name} has {", ".join(offered)}: '
                "ask for one of those, or install it there"
            )


def _check_defaults(runtime: str, objectives: Sequence[Objective], devices: Sequence[DeviceFacts]) -> None:
    """See that devices of a class prefer one runtime where none is named: figures of two don't mix."""
    for name in {objective.device_class for objective in objectives if objective.device_class}:
        preferred = {
            device.name: device.runtimes[0]
            for device in devices
            if device.device_class == name and device.runtimes
        }
        if not runtime and len(set(preferred.values())) > 1:
            told = ", ".join(f"{device}: {first}" for device, first in preferred.items())
            raise SearchError(
                f'devices of class "{name}" would measure with different runtimes ({told}): name one in '
                "measurement.runtime, install one version on all, or give them classes of their own "
                "(hilnas-agent --device-class)"
            )


def resolve_objectives(recipe: Recipe, devices: Sequence[DeviceFacts]) -> tuple[Objective, ...]:
    """Return the objectives with their device classes; SearchError when one cannot be measured."""
    return tuple(_resolve(objective, recipe, devices) for objective in recipe.objective)


def _resolve(objective: Objective, recipe: Recipe, devices: Sequence[DeviceFacts]) -> Objective:
    """Fill in the class of an objective that is measured, and see that it can be."""
    if objective.quantity not in MEASURED:
        return objective
    classes = sorted({device.device_class for device in devices})
    wanted = objective.device_class
    if wanted is None:
        if len(classes) != 1:
            raise SearchError(
                f'objective "{objective.quantity}" names no device_class, and there are {len(classes)} '
                f"({', '.join(classes) or 'no device is connected'}): name one"
            )
        wanted = classes[0]
    if wanted not in classes:
        raise SearchError(
            f'objective "{objective.label}": no device of class "{wanted}" is connected; {nearest(wanted, classes)}'
        )
    if objective.quantity is Quantity.ENERGY:
        options = recipe.measurement.energy
        if wanted not in energy_boundaries(options, devices, [wanted]):
            raise SearchError(f'objective "energy" cannot be measured: {unmetered(options, wanted, devices)}')
    return objective.model_copy(update={"device_class": wanted})
