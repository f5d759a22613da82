"""What the recipe of a user may reach on the lab's host: its plug-ins run there, and its paths are read there."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hilnas.options import OptionsError
from hilnas.plugins import Axis
from hilnas.recipe import LAB, Recipe


def check_plugins(recipe: Mapping[str, Any], allowed: Sequence[str]) -> None:
    """See that a recipe names no code by dotted path but what is allowed, before any of it is imported.

    `allowed` are "package.module:Class", or packages: "package" allows what is in it. OptionsError for another.
    """
    for axis in Axis:
        section = recipe.get(axis.name.lower())
        name = section.get("name") if isinstance(section, Mapping) else None
        if isinstance(name, str) and ":" in name and not any(_is_in(name, each) for each in allowed):
            raise OptionsError(
                f'"{axis.name.lower()}.name": {name} is code by dotted path, which this lab runs for admins alone: '
                "name a plug-in that is installed, or ask an admin to add it to user_plugins in daemon.toml"
            )


def check_paths(recipe: Recipe, allowed: Sequence[Path]) -> None:
    """See that a recipe reads no files but its plug-ins' own and those in folders that are allowed.

    OptionsError for another; of links, what they lead to counts. A plug-in's paths are its options of type Path: one
    that takes a path as text reads what it is given.
    """
    folders = [folder.resolve() for folder in allowed]
    for key, path in _paths(recipe):
        if not any(path.resolve().is_relative_to(folder) for folder in folders):
            known = ", ".join(map(str, allowed)) or "none so far"
            raise OptionsError(
                f'"{key}": {path} lies in none of the folders whose data users may search with ({known}): '
                "ask an admin to put it there, or to add its folder to user_data in daemon.toml"
            )


def check_executor(recipe: Recipe, plugins: Sequence[str], clusters: Sequence[str]) -> None:
    """See that a recipe sends work to no cluster, and imports no module for its workers, but those that are allowed.

    A cluster is where code and data of the lab's go and where models come from that the lab believes. It is any
    executor's option `address`, and modules are its option `preload`. OptionsError for another.
    """
    options = recipe.options(Axis.EXECUTOR)
    address = getattr(options, "address", None)
    if address is not None and address not in clusters:
        known = ", ".join(clusters) or "none so far"
        raise OptionsError(
            f'"executor.address": {address} is none of the clusters that users may search on ({known}): '
            "ask an admin to add it to user_clusters in daemon.toml"
        )
    preload = type(options).model_fields.get("preload")
    if preload is not None:
        for module in getattr(options, "preload"):  # noqa: B009 - not every executor's options have it
            if module not in preload.default and not any(_is_in(module, each) for each in plugins):
                raise OptionsError(
                    f'"executor.preload": {module} is code by name, which this lab runs for admins alone: '
                    "leave it out, or ask an admin to add it to user_plugins in daemon.toml"
                )


def _is_in(name: str, allowed: str) -> bool:
    return name == allowed or (":" not in allowed and name.startswith((f"{allowed}.", f"{allowed}:")))


def _paths(recipe: Recipe) -> Iterator[tuple[str, Path]]:
    for folder in recipe.search.warm_start:
        if not folder.startswith(LAB):
            yield "search.warm_start", Path(folder)
    for axis in Axis:
        yield from _paths_of(recipe.options(axis), axis.name.lower())


def _paths_of(options: BaseModel, where: str) -> Iterator[tuple[str, Path]]:
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        if value != field.default:
            yield from _paths_in(value, f"{where}.{name}")


def _paths_in(value: Any, key: str) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield key, value
    elif isinstance(value, BaseModel):
        yield from _paths_of(value, key)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _paths_in(each, f"{key}.{name}")
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _paths_in(each, key)
