"""The real range of every value, from running the graph in float32 on the calibration images."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor

from hilnas.export.clipping import Histogram
from hilnas.export.errors import ExportError
from hilnas.export.ir import Graph, Value
from hilnas.export.options import QuantizationOptions

_CHUNK = 32  # images at once: bounds memory, not the result
_POPULATION = 256  # images whose extremes a smaller calibration set is extrapolated to

Extremes = tuple[Tensor, Tensor]  # of each image: its lowest and its highest number, float32 [N]


def ranges(
    graph: Graph, calibration: Tensor, options: QuantizationOptions | None = None
) -> dict[Value, tuple[float, float]]:
    """The range of each value over `calibration` [N, …], zero included, made ready for unseen images.

    What `options` clip is never the input, which is what it is, nor the output: of two outputs that are
    both cut off nobody can say which was the larger. Raises ExportError, naming the layer, on NaN or
    infinity.
    """
    options = options or QuantizationOptions()
    seen: dict[Value, list[Extremes]] = defaultdict(list)
    with torch.no_grad():
        for chunk in torch.split(calibration, _CHUNK):
            for value, tensor in _activations(graph, chunk):
                seen[value].append(_extremes(value, tensor))
    margin = _margin(len(calibration))
    found = {graph.input: _range(seen[graph.input], 0.0, _within(graph.input.useful))}
    clipped = {} if options.ranges == "minmax" else _clipped(graph, calibration, seen, options)
    for op in graph.ops:
        if op.shares_quantization:  # bytes are moved: nothing new can appear
            lows, highs = zip(*(found[value] for value in op.inputs), strict=True)
            found[op.output] = min(lows), max(highs)
        elif op.output in clipped:
            found[op.output] = clipped[op.output]
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


def _clipped(
    graph: Graph, calibration: Tensor, seen: dict[Value, list[Extremes]], options: QuantizationOptions
) -> dict[Value, tuple[float, float]]:
    """The ranges of percentiles or of the least squared error, from a second run over the images."""
    kept = {graph.input, graph.output}
    for op in reversed(graph.ops):
        if op.shares_quantization and op.output in kept:
            kept.update(op.inputs)
    limits = {op.output: _within(op.output.useful, op.bounds) for op in graph.ops}
    histograms = {
        value: Histogram(*_range(parts, 0.0, limits[value]))
        for value, parts in seen.items()
        if value not in kept
    }
    with torch.no_grad():
        for chunk in torch.split(calibration, _CHUNK):
            for value, tensor in _activations(graph, chunk):
                if value in histograms:
                    histograms[value].add(_flat(tensor))
    if options.ranges == "percentile":
        return {value: each.percentile(options.percentile) for value, each in histograms.items()}
    return {value: each.least_squared_error() for value, each in histograms.items()}


def _activations(graph: Graph, images: Tensor) -> Iterator[tuple[Value, Tensor]]:
    """The input and every result that is computed and not just moved, freed once nobody reads it."""
    readers = Counter(value for op in graph.ops for value in op.inputs)
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    values = {graph.input: images}
    yield graph.input, images
    for op in graph.ops:
        result = op.evaluate(*(values[value] for value in op.inputs))
        if not op.shares_quantization:
            yield op.output, result
        values[op.output] = result
        for value in op.inputs:
            readers[value] -= 1
            if readers[value] == 0:
                del values[value]


def _extremes(value: Value, tensor: Tensor) -> Extremes:
    flat = _flat(tensor)
    low, high = flat.amin(1), flat.amax(1)
    if not (low.isfinite().all() and high.isfinite().all()):
        kind = "NaN" if low.isnan().any() else "infinite"
        raise ExportError(
            f"layer '{value.name}' gives {kind} activations on the calibration images; "
            "train it again, with a lower learning rate"
        )
    return low, high


def _flat(tensor: Tensor) -> Tensor:
    # Images lie in memory with channels last: in that order flattening copies nothing.
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).flatten(1)
