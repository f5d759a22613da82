"""Adds arithmetic between values, concatenation, slices and reshapes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hilnas.export.build import GraphBuilder
from hilnas.export.errors import ExportError
from hilnas.export.geometry import Padding
from hilnas.export.ir import Activation, Shape, Value, stored_order
from hilnas.export.ops_elementwise import Add, Mul
from hilnas.export.ops_layout import Concat, Pad, Slice
from hilnas.export.ops_matmul import Conv, Linear
from hilnas.export.ops_pool import Subsample

_CONCAT_LIMIT = 5  # XNNPACK takes at most five inputs


def add(graph: GraphBuilder, a: Value, b: Value) -> Value:
    """a + b, broadcast."""
    if a.gain != b.gain:
        a, b = _with_gain(graph, a, b.gain), _with_gain(graph, b, a.gain)
        if a.gain != b.gain:
            a, b = graph.plain(a), graph.plain(b)
    shape, order = _broadcast(graph, a, b)
    return graph.add_op(Add(graph.name, [a, b], Value(graph.name, shape, a.gain, order)))


def mul(graph: GraphBuilder, a: Value, b: Value) -> Value:
    """a · b, broadcast (the gate of a squeeze-and-excitation block)."""
    shape, order = _broadcast(graph, a, b)
    return graph.add_op(Mul(graph.name, [a, b], Value(graph.name, shape, a.gain * b.gain, order)))


def concat(graph: GraphBuilder, values: list[Value], dim: int) -> Value:
    """Values one after the other along torch's axis `dim`."""
    if len({value.gain for value in values}) > 1:
        values = [graph.plain(value) for value in values]
    while len(values) > _CONCAT_LIMIT:
        values = [concat(graph, values[:_CONCAT_LIMIT], dim), *values[_CONCAT_LIMIT:]]
    shape = list(values[0].shape)
    shape[dim] = sum(value.shape[dim] for value in values)
    order = None
    if any(value.order is not None for value in values):
        starts = np.cumsum([0, *(value.features for value in values)])
        order = np.concatenate(
            [stored_order(value) + start for value, start in zip(values, starts, strict=False)]
        )
    out = Value(graph.name, tuple(shape), values[0].gain, order)
    return graph.add_op(Concat(graph.name, values, out, dim))


def pad(graph: GraphBuilder, x: Value, padding: Padding, channels: tuple[int, int] = (0, 0)) -> Value:
    """Zeros around the image and, for identity shortcuts, around the channels."""
    _, c, h, w = x.shape
    shape = (
        1,
        c + sum(channels),
        h + padding.top + padding.bottom,
        w + padding.left + padding.right,
    )
    out = Value(graph.name, shape, x.gain)
    return graph.add_op(Pad(graph.name, x, out, padding, channels))


def slice(graph: GraphBuilder, x: Value, begin: tuple[int, ...], shape: Shape) -> Value:
    """The part of x from `begin` on, of `shape`, both in torch's axes."""
    if shape == x.shape:
        return x
    if len(x.shape) == 2:
        x = graph.in_torch_order(x)
    return graph.add_op(Slice(graph.name, x, Value(graph.name, shape, x.gain), begin))


def subsample(graph: GraphBuilder, x: Value, stride: tuple[int, int]) -> Value:
    """x[:, :, ::s, ::t]."""
    if stride == (1, 1):
        return x
    _, c, h, w = x.shape
    out = Value(graph.name, (1, c, -(-h // stride[0]), -(-w // stride[1])), x.gain)
    return graph.add_op(Subsample(graph.name, x, out, stride))


def reshape(graph: GraphBuilder, x: Value, shape: Shape) -> Value:
    """x in another shape, where the stored order allows it: flattening, and images of 1 x 1."""
    if shape == x.shape:
        return x
    order = stored_order(x)
    out = Value(graph.name, shape)
    if len(shape) == 4 and not np.array_equal(order, stored_order(out)):
        raise ExportError(
            f"'{graph.name}': reshaping {x.shape} to {shape} would reorder numbers; "
            "reshape to (N, -1) or to images of one pixel or one channel"
        )
    natural = len(shape) == 4 or np.array_equal(order, np.arange(len(order)))
    return graph.stored_reshape(x, shape, None if natural else order)


def _with_gain(graph: GraphBuilder, x: Value, gain: float) -> Value:
    """x with another gain if the layer that makes it can multiply its weights, else x unchanged."""
    producer = graph.producer(x)
    if graph.sole(x) and isinstance(producer, Conv | Linear) and producer.activation is not Activation.RELU6:
        factor = np.full(len(producer.bias), gain / x.gain)
        producer.rescale(factor, np.zeros(len(factor)))
        x.gain = gain
    return x


def _broadcast(graph: GraphBuilder, a: Value, b: Value) -> tuple[Shape, npt.NDArray[np.int64] | None]:
    if len(a.shape) != len(b.shape):
        raise ExportError(f"'{graph.name}': operands of shapes {a.shape} and {b.shape} have different ranks")
    if not np.array_equal(stored_order(a), stored_order(b)) and len(a.shape) == 2:
        raise ExportError(f"'{graph.name}': operands were flattened from images of different shapes")
    try:
        return np.broadcast_shapes(a.shape, b.shape), a.order
    except ValueError:
        raise ExportError(f"'{graph.name}': shapes {a.shape} and {b.shape} do not broadcast") from None
