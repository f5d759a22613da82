"""The recipe: the TOML file that describes a search, checked before anything starts."""

import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hilnas.estimators.quantizing import QuantizingOptions
from hilnas.farm.protocol import MeasurementOptions
from hilnas.farm.settings import FarmOptions
from hilnas.objectives import Objective, Quantity
from hilnas.options import Options, OptionsError, nearest, parse_options
from hilnas.plugins import Axis, options_of
from hilnas.proxies.options import FilterOptions, WarmStartOptions

LAB = "lab:"
"""Begins the name or the id of a search of the same lab, in place of a results folder."""
QUICKSTART = "quickstart"
"""The recipe that `hilnas run` takes when it is given none."""


class SearchOptions(Options):
    """`[search]`: how much to search, and how it overlaps."""

    name: str = Field("search", min_length=1, max_length=100, pattern=r"^\w[\w.+-]*$")
    """Names the results folder."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Fixes proposals, splits and training."""
    trials: int = Field(24, ge=1)
    """Trials to score; those that a device or the host failed do not count."""
    hours: float | None = Field(None, gt=0)
    """Stop proposing after so long."""
    in_flight: int = Field(8, ge=1, le=1024)
    """Trials under way at once, at most."""
    group: int = Field(4, ge=1)
    """Trials that the strategy observes at a time, in the order of proposal."""
    warm_start: tuple[str, ...] = ()
    """Results folders of earlier searches of the same space, to learn from before the first trial; in a lab also
    "lab:NAME", a search there."""
    warm_start_proxy: WarmStartOptions | None = None
    """Zero-cost proxies whose ranks of a sample are learned from before the first trial."""
    patience: float = Field(3.0, gt=1)
    """A trial that takes this many times as long as the median one is overdue: it is not waited for."""

    @model_validator(mode="after")
    def _group_fits(self) -> "SearchOptions":
        if self.group > self.in_flight:
            raise ValueError(f"group {self.group} must not exceed in_flight {self.in_flight}")
        return self


class FinalOptions(QuantizingOptions):
    """`[final]`: how the winners are retrained and made int8 before they meet the test split."""

    epochs: int = Field(12, ge=1)
    """Passes over the training data."""
    top: int = Field(1, ge=0)
    """Winners, best reward first; 0 leaves this out."""


class PluginSection(BaseModel):
    """`[task]`, `[space]` and the like: a name, and the settings of what it names."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class Recipe(Options):
    """A whole search."""

    search: SearchOptions = SearchOptions()
    task: PluginSection
    space: PluginSection = PluginSection(name="mbconv")
    strategy: PluginSection = PluginSection(name="rl")
    estimator: PluginSection = PluginSection(name="train")
    filter: FilterOptions | None = None
    executor: PluginSection = PluginSection(name="local")
    objective: list[Objective] = Field(min_length=1)
    measurement: MeasurementOptions = MeasurementOptions()
    farm: FarmOptions = FarmOptions()
    final: FinalOptions = FinalOptions()

    @model_validator(mode="before")
    @classmethod
    def _default_names(cls, data: Any) -> Any:
        """Let a section that only changes a setting keep the name that it has by default."""
        if not isinstance(data, dict):
            return data
        named = {
            key: {"name": field.default.name, **data[key]}
            for key, field in cls.model_fields.items()
            if isinstance(field.default, PluginSection) and isinstance(data.get(key), dict)
        }
        return {**data, **named}

    @model_validator(mode="after")
    def _objectives_fit(self) -> "Recipe":
        labels = [objective.label for objective in self.objective]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f'objective "{label}" is there twice; give each a device_class of its own')
        if all(objective.quantity is not Quantity.ACCURACY for objective in self.objective):
            raise ValueError('there is no objective "accuracy": without it the emptiest net wins')
        return self

    def options(self, axis: Axis) -> Any:
        """Return the checked options of the plug-in on an axis."""
        section: PluginSection = getattr(self, axis.name.lower())
        return options_of(axis, section.name, section.settings)


def load_recipe(
    source: str | Mapping[str, Any] | None, overrides: Sequence[str] = (), seed: int | None = None
) -> Recipe:
    """Read a recipe by path or by the name of one that ships, or take its data; apply `key=value`s, check everything.

    OptionsError names each key that is wrong and what to do.
    """
    data = _read(source or QUICKSTART) if isinstance(source, str | None) else deepcopy(dict(source))
    for override in overrides:
        _override(data, override)
    if seed is not None:
        _override(data, f"search.seed={seed}")
    return check_recipe(data)


def check_recipe(data: Mapping[str, Any]) -> Recipe:
    """Return the recipe in `data`, with the options of every plug-in checked."""
    recipe = parse_options(Recipe, dict(data), "")
    for axis in Axis:
        recipe.options(axis)
    return recipe


def measurement_options(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> MeasurementOptions:
    """Return the checked options of `[measurement]` without a recipe; `key=value`s are below it."""
    place: dict[str, Any] = {"measurement": dict(data)}
    for override in overrides:
        _override(place, f"measurement.{override}")
    return parse_options(MeasurementOptions, place["measurement"], "")


def settings_of(text: str, where: str) -> dict[str, Any]:
    """Return the settings in `key=value,key=value`, each value TOML or else a plain string."""
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        if "=" not in part:
            raise OptionsError(f'"{where}": write name:key=value,key=value')
        _override(found, part if "." in part.partition("=")[0] else f"settings.{part}")
    return dict(found.get("settings", {}))


def farm_options(data: Mapping[str, Any]) -> FarmOptions:
    """Return the checked options of `[farm]` without a recipe."""
    return parse_options(FarmOptions, dict(data), "")


def shipped() -> list[str]:
    """Return the names of the recipes that ship."""
    folder = files("hilnas") / "recipes"
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def _read(source: str) -> dict[str, Any]:
    if source in shipped():
        text = (files("hilnas") / "recipes" / f"{source}.toml").read_text()
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise OptionsError(
                f'there is no recipe "{source}": give the path of a TOML file, or one of {", ".join(shipped())}'
                + (f"; {close}" if (close := nearest(source, shipped())).startswith("did") else "")
            )
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionsError(f"{path} cannot be read: {error}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionsError(f"{source} is not valid TOML: {error}") from error


def _override(data: dict[str, Any], override: str) -> None:
    """Apply `section.key=value` to the tables; the value is TOML, or else a plain string."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise OptionsError(f'--set "{override}": write key=value, such as search.trials=40')
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    if "." not in key and key.strip() not in Recipe.model_fields:
        raise OptionsError(f'--set "{override}": {_with_section(key.strip())}')
    place: Any = data
    *path, last = key.strip().split(".")
    for part in path:
        place = _step(place, part, override)
    if isinstance(place, list):
        place[_index(place, last, override)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise OptionsError(f'--set "{override}": nothing can be set below "{path[-1]}"')


def _with_section(key: str) -> str:
    """Return the remedy for a key that was given without its section."""
    sections = {name: field.annotation for name, field in Recipe.model_fields.items()}
    homes = [
        f"{name}.{key}"
        for name, kind in sections.items()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and key in kind.model_fields
    ]
    if homes:
        return f"write {' or '.join(homes)}"
    return f"write section.key; the sections are {', '.join(sections)}"


def _step(place: Any, part: str, override: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, part, override)]
    if not isinstance(place, dict):
        raise OptionsError(f'--set "{override}": nothing can be set below "{part}"')
    return place.setdefault(part, {})


def _index(place: list[Any], part: str, override: str) -> int:
    """Return the place of an objective, by its number from 0 or by its quantity."""
    for number, entry in enumerate(place):
        if part == str(number) or (isinstance(entry, dict) and entry.get("quantity") == part):
            return number
    raise OptionsError(
        f'--set "{override}": there is no entry "{part}"; use 0 to {len(place) - 1} or a quantity'
    )
