"""The real range of every value, from running the graph in float32 on the calibration images."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import torch
from torch import Tensor

from hilnas.export.errors import ExportError
from hilnas.export.ir import Graph, Value

_CHUNK = 32  # images at once: bounds memory, not the result
_POPULATION = 256  # images whose extremes a smaller calibration set is extrapolated to

Extremes = tuple[Tensor, Tensor]  # of each image: its lowest and its highest number, float32 [N]


def ranges(graph: Graph, calibration: Tensor) -> dict[Value, tuple[float, float]]:
    """The range of each value over `calibration` [N, …], zero included, made ready for unseen images.

    Raises ExportError, naming the layer, on NaN or infinity.
    """
    seen: dict[Value, list[Extremes]] = defaultdict(list)
    with torch.no_grad():
        for chunk in torch.split(calibration, _CHUNK):
            for value, extremes in _observe(graph, chunk).items():
                seen[value].append(extremes)
    margin = _margin(len(calibration))
    found = {graph.input: _range(seen[graph.input], 0.0, _within(graph.input.useful))}
    for op in graph.ops:
        if op.shares_quantization:  # bytes are moved: nothing new can appear
            lows, highs = zip(*(found[value] for value in op.inputs), strict=True)
            found[op.output] = min(lows), max(highs)
        else:
            found[op.output] = _range(seen[op.output], margin, _within(op.output.useful, op.bounds))
    return found


def run(graph: Graph, images: Tensor) -> Tensor:
    """The graph's output in float32: what torch computes, up to rounding (and order of dimensions)."""
    values: dict[Value, Tensor] = {graph.input: images}
    with torch.no_grad():
        for op in graph.ops:
            values[op.output] = op.evaluate(*(values[value] for value in op.inputs))
    return values[graph.output]


def _margin(count: int) -> float:
    """Standard deviations by which the extremes of `count` images fall short of those of _POPULATION.

    Extremes follow a Gumbel law with scale β = σ · √6 / π; the highest of m times as many images is
    expected β · ln m further out. With 32 images this halves the int8 error of networks with long
    tails (hard-swish, squeeze-and-excitation), which would saturate on images not calibrated on.
    """
    return math.sqrt(6) / math.pi * math.log(max(_POPULATION / count, 1.0)) if count > 1 else 0.0


def _range(parts: list[Extremes], margin: float, limits: tuple[float, float]) -> tuple[float, float]:
    low, high = (torch.cat(side) for side in zip(*parts, strict=True))
    return max(-_extended(-low, margin), limits[0]), min(_extended(high, margin), limits[1])


def _extended(highest: Tensor, margin: float) -> float:
    """The highest number to expect, from each image's; never below zero."""
    top = highest.max().item()
    return top + margin * highest.double().std(correction=0).item() if top > 0 else 0.0


def _within(*limits: tuple[float, float]) -> tuple[float, float]:
    return max(low for low, _ in limits), min(high for _, high in limits)


def _observe(graph: Graph, images: Tensor) -> dict[Value, Extremes]:
    readers = Counter(value for op in graph.ops for value in op.inputs)
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    values = {graph.input: images}
    observed = {graph.input: _extremes(graph.input, images)}
    for op in graph.ops:
        result = op.evaluate(*(values[value] for value in op.inputs))
        if not op.shares_quantization:
            observed[op.output] = _extremes(op.output, result)
        values[op.output] = result
        for value in op.inputs:
            readers[value] -= 1
            if readers[value] == 0:
                del values[value]
    return observed


def _extremes(value: Value, tensor: Tensor) -> Extremes:
    # Images lie in memory with channels last: in that order flattening copies nothing.
    flat = (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).flatten(1)
    low, high = flat.amin(1), flat.amax(1)
    if not (low.isfinite().all() and high.isfinite().all()):
        kind = "NaN" if low.isnan().any() else "infinite"
        raise ExportError(
            f"layer '{value.name}' gives {kind} activations on the calibration images; "
            "train it again, with a lower learning rate"
        )
    return low, high
