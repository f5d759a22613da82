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
    from hilnas.export.options import QuantizationOptions
    from hilnas.export.trainable import TrainableInt8, trainable_int8

__all__ = [
    "Agreement",
    "ExportError",
    "Int8Facts",
    "Int8Model",
    "ModelFileError",
    "ModelSummary",
    "QuantizationOptions",
    "TrainableInt8",
    "UnsupportedModuleError",
    "agreement",
    "check_int8",
    "export_int8",
    "inspect_model",
    "trainable_int8",
]

# Imported on first use: torch alone takes a second.
_HOMES = {
    "Agreement": "interpreter",
    "Int8Model": "interpreter",
    "Int8Facts": "check",
    "ModelSummary": "inspect",
    "QuantizationOptions": "options",
    "TrainableInt8": "trainable",
    "agreement": "interpreter",
    "check_int8": "check",
    "export_int8": "exporter",
    "inspect_model": "inspect",
    "trainable_int8": "trainable",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
