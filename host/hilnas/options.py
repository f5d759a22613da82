"""Options that are checked: every section of a recipe and every plug-in's settings."""

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hilnas.errors import HilnasError

OptionsT = TypeVar("OptionsT", bound="Options")


class OptionsError(HilnasError, ValueError):
    """An option is unknown or has a wrong value; the message names it and the remedy."""

    exit_code = 2


class Options(BaseModel):
    """Base of every group of options: immutable; an unknown key is an error, and so is an endless number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a remedy for an unknown `word`: the nearest known one, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"known: {', '.join(names)}" if names else "there is nothing to set here"


def parse_options(model: type[OptionsT], data: dict[str, Any], where: str) -> OptionsT:
    """Check `data` against `model`; OptionsError names each wrong key by its path under `where`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise OptionsError(explain(error, model, where)) from None


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """Say every problem of a validation in a line: the key, what is wrong, what to do."""
    lines = []
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        place = ".".join([where, *path] if where else path)
        if problem["type"] == "extra_forbidden":
            fields = _fields_at(model, problem["loc"][:-1])
            lines.append(f'unknown key "{place}": {nearest(path[-1], fields)}')
        elif problem["type"] == "missing":
            lines.append(f'"{place}" is missing')
        else:
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f'"{place}": {message} (got {problem["input"]!r})')
    return "\n".join(lines)


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the keys known where `path` leads, following nested models and lists of them."""
    current: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part)
        if field is None:
            return []
        current = field.annotation
        for inner in getattr(current, "__args__", ()):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                current = inner
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return []
    return list(current.model_fields)
