"""The real range of every value, from running the graph in float32 on the calibration images."""

from __future__ import annotations

import math
from collections import Counter

import torch

from hilnas.export.errors import ExportError
from hilnas.export.ir import Graph, Value

_CHUNK = 32  # images at once: bounds memory, not the result


def ranges(graph: Graph, calibration: torch.Tensor) -> dict[Value, tuple[float, float]]:
    """Minimum and maximum of each value over `calibration` [N, …], zero included.

    Raises ExportError, naming the layer, on NaN or infinity.
    """
    found: dict[Value, tuple[float, float]] = {}
    with torch.no_grad():
        for chunk in torch.split(calibration, _CHUNK):
            for value, low, high in _observe(graph, chunk):
                before = found.get(value, (0.0, 0.0))
                found[value] = (min(before[0], low), max(before[1], high))
    return {
        value: (max(low, value.useful[0]), min(high, value.useful[1])) for value, (low, high) in found.items()
    }


def run(graph: Graph, images: torch.Tensor) -> torch.Tensor:
    """The graph's output in float32: what torch computes, up to rounding (and order of dimensions)."""
    values: dict[Value, torch.Tensor] = {graph.input: images}
    with torch.no_grad():
        for op in graph.ops:
            values[op.output] = op.evaluate(*(values[value] for value in op.inputs))
    return values[graph.output]


def _observe(graph: Graph, images: torch.Tensor) -> list[tuple[Value, float, float]]:
    readers = Counter(value for op in graph.ops for value in op.inputs)
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    values = {graph.input: images}
    observed = [_extent(graph.input, images)]
    for op in graph.ops:
        result = op.evaluate(*(values[value] for value in op.inputs))
        observed.append(_extent(op.output, result))
        values[op.output] = result
        for value in op.inputs:
            readers[value] -= 1
            if readers[value] == 0:
                del values[value]
    return observed


def _extent(value: Value, tensor: torch.Tensor) -> tuple[Value, float, float]:
    # aminmax copies what is not contiguous, and images are so with channels last.
    dense = tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor
    low, high = (bound.item() for bound in torch.aminmax(dense))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ExportError(
            f"layer '{value.name}' gives {'NaN' if math.isnan(low) else 'infinite'} activations on the "
            "calibration images; train on, or lower the learning rate"
        )
    return value, low, high
