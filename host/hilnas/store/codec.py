"""Values that travel, to and from JSON."""

from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")

_adapters: dict[Any, TypeAdapter[Any]] = {}  # one for each dataclass: they are slow to make


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def dump(value: Any) -> dict[str, Any]:
    """Return a dataclass of `hilnas.trial` as JSON data."""
    data: dict[str, Any] = _adapter(type(value)).dump_python(value, mode="json")
    return data


def load(kind: type[T], data: Any) -> T:
    """Return the dataclass that `dump` was given. pydantic.ValidationError when it is none."""
    value: T = _adapter(kind).validate_python(data)
    return value
