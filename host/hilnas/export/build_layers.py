"""Adds layers with weights or windows: convolution, linear, batch normalization, pooling."""

from __future__ import annotations

import math

import numpy as np

from hilnas.export.build import GraphBuilder, is_open
from hilnas.export.errors import ExportError
from hilnas.export.geometry import Padding, Window
from hilnas.export.ir import Array, Shape, Value
from hilnas.export.ops_elementwise import MulConstant
from hilnas.export.ops_layout import Pad
from hilnas.export.ops_matmul import Conv, Linear
from hilnas.export.ops_pool import GlobalMean, MaxPool

_LARGE_POOL = 25  # beyond 5 x 5 XNNPACK's depthwise convolution is a hundred times slower


def conv(
    graph: GraphBuilder,
    x: Value,
    weight: Array,
    bias: Array | None,
    window: Window,
    *,
    padding: Padding,
    depthwise: bool = False,
) -> Value:
    """A convolution; zero-padding right before it becomes its own."""
    producer = graph.producer(x)
    while isinstance(producer, Pad) and producer.channels == (0, 0):
        padding = padding + producer.padding
        x = producer.inputs[0]
        producer = graph.producer(x)
    shape = _window_shape(graph, x, window, padding, len(weight))
    out = Value(graph.name, shape)
    bias = np.zeros(len(weight)) if bias is None else bias
    return graph.add_op(
        Conv(graph.name, x, out, weight / x.gain, bias, window=window, padding=padding, depthwise=depthwise)
    )


def linear(graph: GraphBuilder, x: Value, weight: Array, bias: Array | None) -> Value:
    """A fully connected layer; weights follow the order of a flattened image."""
    if x.order is not None:
        weight = weight[:, x.order]
    out = Value(graph.name, (1, len(weight)))
    bias = np.zeros(len(weight)) if bias is None else bias
    return graph.add_op(Linear(graph.name, x, out, weight / x.gain, bias))


def affine(graph: GraphBuilder, x: Value, scale: Array, shift: Array) -> Value:
    """scale · x + shift per channel: into the layer before if nobody else reads that, else its own."""
    if x.order is not None:
        scale, shift = scale[x.order], shift[x.order]
    shift = shift * x.gain
    producer = graph.producer(x)
    if graph.sole(x) and isinstance(producer, Conv | Linear) and is_open(producer):
        producer.rescale(scale, shift)
        return x
    uniform = np.ptp(scale) == 0 and np.ptp(shift) == 0
    if uniform and scale[0] > 0 and graph.sole(x) and shift[0] == 0:
        x.gain /= float(scale[0])
        return x
    if uniform and scale[0] == 1:
        return graph.add_constant(x, float(shift[0]))
    if uniform and shift[0] == 0:
        out = Value(graph.name, x.shape, x.gain, x.order)
        return graph.add_op(MulConstant(graph.name, x, out, scale[:1]))
    image = x if len(x.shape) == 4 else graph.stored_reshape(x, (*x.shape, 1, 1), None)
    weight = scale.reshape(-1, 1, 1, 1)
    window, out = Window((1, 1), (1, 1)), Value(graph.name, image.shape, x.gain)
    result = graph.add_op(
        Conv(graph.name, image, out, weight, shift, window=window, padding=Padding(), depthwise=True)
    )
    return result if image is x else graph.stored_reshape(result, x.shape, x.order)


def max_pool(graph: GraphBuilder, x: Value, window: Window, padding: Padding) -> Value:
    """The maximum of each window."""
    shape = _window_shape(graph, x, window, padding, x.features)
    return graph.add_op(MaxPool(graph.name, x, Value(graph.name, shape, x.gain), window, padding))


def average_pool(
    graph: GraphBuilder, x: Value, window: Window, padding: Padding, correction: Array | None
) -> Value:
    """The mean of each window, padding counted as zeros, times `correction` (1, 1, h, w).

    A depthwise convolution, since AVERAGE_POOL_2D on int8 is not delegated; large windows go one
    axis after the other.
    """
    kernel, stride = window.kernel, window.stride
    if kernel == x.shape[2:] and not padding and correction is None:
        return global_mean(graph, x)
    p = padding
    parts = [(kernel, stride, p)]
    if math.prod(kernel) > _LARGE_POOL:
        parts = [
            ((kernel[0], 1), (stride[0], 1), Padding(p.top, p.bottom)),
            ((1, kernel[1]), (1, stride[1]), Padding(0, 0, p.left, p.right)),
        ]
    gain = x.gain
    for size, step, pads in parts:
        weight = np.full((x.features, 1, *size), 1 / math.prod(size))
        x = conv(graph, x, weight * x.gain, None, Window(size, step), padding=pads, depthwise=True)
        pooling = graph.producer(x)
        assert isinstance(pooling, Conv)
        pooling.learned = False
        x.gain = gain
    if correction is None:
        return x
    out = Value(graph.name, x.shape, x.gain)
    return graph.add_op(MulConstant(graph.name, x, out, correction))


def global_mean(graph: GraphBuilder, x: Value) -> Value:
    """The mean over height and width, (1, C, 1, 1)."""
    if x.shape[2:] == (1, 1):
        return x
    out = Value(graph.name, (1, x.features, 1, 1), x.gain)
    return graph.add_op(GlobalMean(graph.name, [x], out))


def _window_shape(graph: GraphBuilder, x: Value, window: Window, padding: Padding, channels: int) -> Shape:
    height, width = window.output(x.shape, padding)
    if height < 1 or width < 1:
        raise ExportError(
            f"'{graph.name}': a window of {window.kernel} does not fit an image of "
            f"{x.shape[2]} x {x.shape[3]}; use a larger input or fewer strides"
        )
    return (1, channels, height, width)
