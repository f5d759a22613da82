"""The bridge from the graph's values to the writer's tensors, for operators that write themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hilnas.export.ir import Graph, Value
from hilnas.export.writer import ModelWriter, Quantization

_DEAD = 1e-9  # a narrower range is a value that is always zero


@dataclass(frozen=True)
class QParams:
    """real = scale · (stored − zero point), stored in int8."""

    scale: float
    zero_point: int

    @classmethod
    def spanning(cls, low: float, high: float) -> QParams:
        """The parameters whose 256 steps span [low, high], zero included and exactly representable."""
        low, high = min(low, 0.0), max(high, 0.0)
        if high - low < _DEAD:
            low, high = 0.0, 1.0
        scale = float(np.float32((high - low) / 255))
        return cls(scale, int(np.clip(round(-128 - low / scale), -128, 127)))

    def quantization(self) -> Quantization:
        """The same for the writer."""
        return Quantization(np.array([self.scale], np.float32), np.array([self.zero_point], np.int64))


class Emitter:
    """Hands out tensor indices and quantization parameters; every value becomes one tensor."""

    def __init__(self, params: dict[Value, QParams], description: str) -> None:
        self.writer = ModelWriter(description)
        self._params = params
        self._tensors: dict[Value, int] = {}
        self._names: dict[str, int] = {}
        self._integers: dict[tuple[Any, ...], int] = {}

    def params(self, value: Value) -> QParams:
        """The scale and zero point of `value`."""
        return self._params[value]

    def tensor(self, value: Value) -> int:
        """The index of the tensor that holds `value`."""
        if value not in self._tensors:
            self._tensors[value] = self.scratch(value.name, value.stored_shape, self._params[value])
        return self._tensors[value]

    def scratch(self, name: str, stored_shape: Sequence[int], params: QParams) -> int:
        """The index of a new tensor between two parts of one operator."""
        return self.writer.activation(self._unique(name), stored_shape, params.quantization())

    def integers(self, values: Sequence[Any]) -> int:
        """The index of an int32 constant (axes, shapes, paddings); equal ones are written once."""
        array = np.asarray(values, np.int32)
        key = (array.shape, array.tobytes())
        if key not in self._integers:
            self._integers[key] = self.writer.constant(f"constant_{len(self._integers)}", array)
        return self._integers[key]

    def constant(self, name: str, data: npt.NDArray[Any], quantization: Quantization) -> int:
        """The index of a new quantized constant."""
        return self.writer.constant(self._unique(name), data, quantization)

    def pad(
        self, source: int, name: str, shape: Sequence[int], params: QParams, pads: list[list[int]]
    ) -> int:
        """Zero-pad tensor `source` of stored `shape`; returns the padded tensor's index."""
        padded = [size + before + after for size, (before, after) in zip(shape, pads, strict=True)]
        result = self.scratch(f"{name}/padded", padded, params)
        self.writer.operator("PAD", [source, self.integers(pads)], [result])
        return result

    def _unique(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return f"{name}_{count}" if count else name


def emit(graph: Graph, params: dict[Value, QParams], description: str) -> bytes:
    """The .tflite file of a graph whose values all have their quantization parameters."""
    emitter = Emitter(params, description)
    first = emitter.tensor(graph.input)
    for op in graph.ops:
        op.emit(emitter)
    return emitter.writer.finish([first], [emitter.tensor(graph.output)])
