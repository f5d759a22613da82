"""From real ranges to scales and zero points: Jacob et al. 2018 (arXiv:1712.05877), section 2.1.

Activations are asymmetric int8. Operators that only move bytes need one scale and zero point on both
sides: such values form groups (union-find), and a group has the union of its members' ranges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hilnas.export.emitter import QParams
from hilnas.export.ir import Graph, Op, Value
from hilnas.export.ops_elementwise import Clamp
from hilnas.export.ops_layout import Concat
from hilnas.export.rounding import fake_quantize

Range = tuple[float, float]


class Groups:
    """Values that must share their quantization parameters, as a union-find forest."""

    def __init__(self) -> None:
        self._parent: dict[Value, Value] = {}
        self._fixed: dict[Value, Range] = {}

    def find(self, value: Value) -> Value:
        """The one that stands for the group of `value`."""
        root = value
        while self._parent.get(root, root) is not root:
            root = self._parent[root]
        while value is not root:
            value, self._parent[value] = self._parent.get(value, root), root
        return root

    def union(self, a: Value, b: Value) -> None:
        """Make the groups of a and b one."""
        a, b = self.find(a), self.find(b)
        if a is not b:
            fixed = self.fixed(a) or self.fixed(b)
            self._parent[b] = a
            if fixed is not None:
                self._fixed[a] = fixed

    def fixed(self, value: Value) -> Range | None:
        """The prescribed range of the value's group, if there is one."""
        root = self.find(value)
        return self._fixed.get(root, root.fixed)


@dataclass(frozen=True)
class QuantizedGraph:
    """A graph, which of its values share their quantization parameters, and those of every value."""

    graph: Graph
    groups: Groups
    params: dict[Value, QParams]

    def stored(self, value: Value, tensor: Tensor) -> Tensor:
        """The real numbers that `tensor` becomes when it is stored as `value`."""
        params = self.params[value]
        return fake_quantize(tensor, torch.tensor(params.scale), params.zero_point)


def share(graph: Graph) -> tuple[Graph, Groups]:
    """The groups of a graph, and the graph with conversions where a value cannot join its group.

    A concatenation's input whose range is prescribed (a sigmoid's, the network's input) is converted:
    the prescribed range would clip its neighbours.
    """
    groups = Groups()
    ops: list[Op] = []
    for op in graph.ops:
        if isinstance(op, Concat):
            for position, value in enumerate(op.inputs):
                if groups.fixed(value) is not None:
                    copy = Value(f"{op.name}/converted", value.shape, value.gain, value.order)
                    ops.append(Clamp(copy.name, value, copy))
                    op.inputs[position] = copy
        ops.append(op)
        if op.shares_quantization:
            for value in op.inputs:
                groups.union(value, op.output)
    return Graph(graph.input, graph.output, ops), groups


def quantization(graph: Graph, groups: Groups, ranges: dict[Value, Range]) -> dict[Value, QParams]:
    """The scale and zero point of every value."""
    merged: dict[Value, Range] = {}
    for value, (low, high) in ranges.items():
        root = groups.find(value)
        other = merged.get(root, (0.0, 0.0))
        merged[root] = (min(low, other[0]), max(high, other[1]))
    params = {root: QParams.spanning(*(groups.fixed(root) or bounds)) for root, bounds in merged.items()}
    widen(graph, groups, params)
    return {value: params[groups.find(value)] for value in ranges}


def widen(graph: Graph, groups: Groups, params: dict[Value, QParams]) -> None:
    """Coarsen scales, each under its group's root, that fixed-point multipliers cannot relate to others'.

    Happens around values that are all but zero; without it XNNPACK refuses the whole graph.
    """
    for _ in range(len(graph.ops) + 1):
        changed = False
        for op in graph.ops:
            scales = [params[groups.find(value)].scale for value in op.inputs]
            changed |= _coarsen(op.output, op.least_output_scale(scales), groups, params)
            least = op.least_input_scale(params[groups.find(op.output)].scale)
            for value in op.inputs:
                changed |= _coarsen(value, least, groups, params)
        if not changed:
            return


def _coarsen(value: Value, least: float, groups: Groups, params: dict[Value, QParams]) -> bool:
    root = groups.find(value)
    if params[root].scale >= least or groups.fixed(root) is not None:
        return False
    params[root] = QParams(
        float(np.nextafter(np.float32(least), np.float32(np.inf))), params[root].zero_point
    )
    return True
