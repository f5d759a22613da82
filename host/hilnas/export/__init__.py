"""torch to full-int8 .tflite, the check that a file is one, and the interpreter on the host."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hilnas.export.errors import ExportError, ModelFileError, UnsupportedModuleError

if TYPE_CHECKING:
    from hilnas.export.check import Int8Facts, check_int8
    from hilnas.export.exporter import export_int8
    from hilnas.export.inspect import ModelSummary, inspect_model
    from hilnas.export.interpreter import Agreement, Int8Model, agreement

__all__ = [
    "Agreement",
    "ExportError",
    "Int8Facts",
    "Int8Model",
    "ModelFileError",
    "ModelSummary",
    "UnsupportedModuleError",
    "agreement",
    "check_int8",
    "export_int8",
    "inspect_model",
]

# Imported on first use: torch alone takes a second.
_HOMES = {
    "Agreement": "interpreter",
    "Int8Model": "interpreter",
    "Int8Facts": "check",
    "ModelSummary": "inspect",
    "agreement": "interpreter",
    "check_int8": "check",
    "export_int8": "exporter",
    "inspect_model": "inspect",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
