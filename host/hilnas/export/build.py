"""The graph under construction: its operators, who reads what, and the forms a value can be put in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hilnas.export.errors import ExportError
from hilnas.export.ir import Activation, FusingOp, Graph, Op, Shape, Value
from hilnas.export.ops_elementwise import AddConstant, MulConstant
from hilnas.export.ops_layout import FlattenChannelsFirst, Reshape


class GraphBuilder:
    """The graph so far. `name` is the path of the layer being added; `uses` counts readers of a value."""

    def __init__(self) -> None:
        self.name = ""
        self.uses: dict[Value, int] = {}
        self._ops: list[Op] = []
        self._producer: dict[Value, Op] = {}
        self._plain: dict[Value, Value] = {}

    def finish(self, source: Value, result: Value) -> Graph:
        """The whole graph from `source` to `result`."""
        return Graph(source, self.plain(self.in_torch_order(result)), self._ops).without_dead_ops()

    def plain(self, x: Value) -> Value:
        """x as torch has it, without a gain."""
        if x.gain == 1:
            return x
        if x not in self._plain:
            out = Value(f"{x.name}/scaled", x.shape, 1.0, x.order)
            self.uses[out] = self.uses.get(x, 1)
            self._plain[x] = self.add_op(MulConstant(out.name, x, out, np.array([1 / x.gain])))
        return self._plain[x]

    def in_torch_order(self, x: Value) -> Value:
        """A vector in the order that torch gives it."""
        if x.order is None:
            return x
        producer = self.producer(x)
        if not isinstance(producer, Reshape) or len(producer.inputs[0].shape) != 4:
            raise ExportError(
                f"'{x.name}': a flattened image may go to linear layers or be the output; "
                "let anything else come before the flattening"
            )
        out = Value(x.name, x.shape, x.gain)
        return self.add_op(FlattenChannelsFirst(self.name, [producer.inputs[0]], out))

    def add_op(self, op: Op) -> Value:
        """Append an operator; returns its output."""
        self._ops.append(op)
        self._producer[op.output] = op
        return op.output

    def producer(self, x: Value) -> Op | None:
        """The operator that makes x; None for the network's input."""
        return self._producer.get(x)

    def sole(self, x: Value) -> bool:
        """Whether the layer being added is the only reader of x."""
        return self.uses.get(x, 1) == 1

    def add_constant(self, x: Value, number: float, activation: Activation = Activation.NONE) -> Value:
        """x plus a number, clamped."""
        out = Value(f"{self.name}/shifted", x.shape, x.gain, x.order)
        op = AddConstant(out.name, x, out, np.array([number]))
        op.activation = activation
        return self.add_op(op)

    def stored_reshape(self, x: Value, shape: Shape, order: npt.NDArray[np.int64] | None) -> Value:
        """The stored numbers of x in another shape."""
        out = Value(self.name, shape, x.gain, order)
        producer = self.producer(x)
        source = producer.inputs[0] if isinstance(producer, Reshape) else x
        return self.add_op(Reshape(self.name, [source], out))


def is_open(op: FusingOp) -> bool:
    """Whether nothing is fused into `op` yet."""
    return op.activation is Activation.NONE
