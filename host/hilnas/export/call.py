"""One call of a traced network, as the rules see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hilnas.export.build import GraphBuilder
from hilnas.export.errors import ExportError, UnsupportedModuleError
from hilnas.export.ir import Array, Value

Rule = Callable[..., Any]


@dataclass(frozen=True)
class Call:
    """What is called (`what`), in which module (`path`), and the module itself if it is a layer."""

    graph: GraphBuilder
    what: str
    path: str
    layer: Any = None

    def unsupported(self, reason: str) -> UnsupportedModuleError:
        """The error to raise where this call has a form without an int8 counterpart."""
        return UnsupportedModuleError(self.what, self.path, reason)

    def image(self, x: Any) -> Value:
        """x, if it is an activation [N, C, H, W]."""
        if not isinstance(x, Value) or len(x.shape) != 4:
            raise self.unsupported(f"expects an activation [N, C, H, W], got {_describe(x)}")
        return x

    def vector(self, x: Any) -> Value:
        """x, if it is an activation [N, F]."""
        if not isinstance(x, Value) or len(x.shape) != 2:
            raise self.unsupported(f"expects an activation [N, F], got {_describe(x)}; flatten it before")
        return x

    def constant(self, tensor: Any, name: str) -> Array:
        """A parameter or buffer in float64, checked for NaN and infinity."""
        if not isinstance(tensor, torch.Tensor):
            raise self.unsupported(f"its {name} must be a constant, got {_describe(tensor)}")
        array = tensor.detach().to("cpu", torch.float64).numpy()
        if not np.isfinite(array).all():
            kind = "NaN" if np.isnan(array).any() else "infinite values"
            raise ExportError(f"{name} of {self.what} at '{self.path}' has {kind}; train it again")
        return array


def pair(value: Any) -> tuple[int, int]:
    """torch's int-or-pair as (height, width)."""
    if isinstance(value, int):
        return value, value
    items = tuple(int(item) for item in value)
    return (items[0], items[0]) if len(items) == 1 else (items[0], items[1])


def _describe(x: Any) -> str:
    return f"shape {list(x.shape)}" if isinstance(x, Value) else type(x).__name__
