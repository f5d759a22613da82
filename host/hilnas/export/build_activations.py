"""Adds activations: fused into the layer before where it has no other reader, else in delegated forms."""

from __future__ import annotations

import math

import numpy as np

from hilnas.export.build import GraphBuilder, is_open
from hilnas.export.ir import Activation, FusingOp, Value
from hilnas.export.ops_elementwise import Clamp, Mul, Sigmoid
from hilnas.export.ops_matmul import Conv, Linear


def relu(graph: GraphBuilder, x: Value, ceiling: float | None = None) -> Value:
    """max(x, 0), below `ceiling` if there is one: in the layer before if nobody else reads that."""
    if ceiling is not None:
        x = graph.plain(x)
    producer = graph.producer(x)
    fits = ceiling is None or ceiling == 6
    if fits and graph.sole(x) and isinstance(producer, FusingOp) and is_open(producer):
        producer.activation = Activation.RELU if ceiling is None else Activation.RELU6
        return x
    return clamp(graph, x, 0.0, ceiling)


def clamp(graph: GraphBuilder, x: Value, low: float | None, high: float | None) -> Value:
    """x within [low, high], low <= 0 <= high."""
    x = graph.plain(x)
    if graph.sole(x):
        x.useful = (-math.inf if low is None else low, math.inf if high is None else high)
    out = Value(graph.name, x.shape, 1.0, x.order)
    return graph.add_op(Clamp(graph.name, x, out, low, high))


def hardsigmoid(graph: GraphBuilder, x: Value) -> Value:
    """relu6(x + 3) / 6, the division left to whoever reads it."""
    x = graph.plain(x)
    producer = graph.producer(x)
    if graph.sole(x) and isinstance(producer, Conv | Linear) and is_open(producer):
        producer.rescale(np.ones(len(producer.bias)), np.full(len(producer.bias), 3.0))
        producer.activation = Activation.RELU6
        x.gain = 6.0
        return x
    if graph.sole(x):
        x.useful = (-3.0, 3.0)
    out = graph.add_constant(x, 3.0, Activation.RELU6)
    out.gain = 6.0
    return out


def hardswish(graph: GraphBuilder, x: Value) -> Value:
    """x · relu6(x + 3) / 6, the division left to whoever reads it.

    Two delegated operators in place of HARD_SWISH, which is not delegated.
    """
    x = graph.plain(x)
    if graph.sole(x):
        x.useful = (-3.0, math.inf)  # below −3 the other factor is zero, whatever x is
    gate = graph.add_constant(x, 3.0, Activation.RELU6)
    out = Value(graph.name, x.shape, 6.0, x.order)
    return graph.add_op(Mul(graph.name, [x, gate], out))


def sigmoid(graph: GraphBuilder, x: Value) -> Value:
    """1 / (1 + exp(−x))."""
    x = graph.plain(x)
    if graph.sole(x):
        x.useful = (-8.0, 8.0)  # the output's step is 1/256
    return graph.add_op(
        Sigmoid(graph.name, [x], Value(graph.name, x.shape, 1.0, x.order, fixed=(0.0, 255 / 256)))
    )


def silu(graph: GraphBuilder, x: Value) -> Value:
    """x · sigmoid(x)."""
    x = graph.plain(x)
    if graph.sole(x):
        x.useful = (-8.0, math.inf)
    gate = Value(f"{graph.name}/sigmoid", x.shape, 1.0, x.order, fixed=(0.0, 255 / 256))
    graph.add_op(Sigmoid(gate.name, [x], gate))
    return graph.add_op(Mul(graph.name, [x, gate], Value(graph.name, x.shape, 1.0, x.order)))
