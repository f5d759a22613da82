"""Plug-ins by name: an entry point of the axis' group, or a dotted path "package.module:Class"."""

from enum import StrEnum
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from hilnas.options import Options, OptionsError, nearest, parse_options


class Axis(StrEnum):
    """What can be plugged in on the host; the value is the entry points' group."""

    SPACE = "hilnas.spaces"
    TASK = "hilnas.tasks"
    ESTIMATOR = "hilnas.estimators"
    STRATEGY = "hilnas.strategies"
    EXECUTOR = "hilnas.executors"


def names(axis: Axis) -> list[str]:
    """Return the installed names on an axis, sorted."""
    return sorted({entry.name for entry in entry_points(group=axis.value)})


def find(axis: Axis, name: str) -> Any:
    """Return the class called `name` on an axis. OptionsError when there is none or it cannot load."""
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        try:
            return getattr(import_module(module_name), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise OptionsError(
                f'cannot load "{name}": {error}; is its package installed in this environment?'
            ) from error
    for entry in entry_points(group=axis.value, name=name):
        try:
            return entry.load()
        except ImportError as error:
            raise OptionsError(
                f'{axis.name.lower()} "{name}" needs a package that is missing: {error}; '
                "install hilnas with its extra [host]"
            ) from error
    raise OptionsError(f'there is no {axis.name.lower()} "{name}": {nearest(name, names(axis))}')


def options_of(axis: Axis, name: str, data: dict[str, Any]) -> Options:
    """Check a plug-in's settings against its own `Options` model."""
    plugin = find(axis, name)
    model: type[Options] = getattr(plugin, "Options", Options)
    return parse_options(model, data, axis.name.lower())
