"""The graph between torch and TFLite: values, operators, and how the two are linked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor
from typing_extensions import override

if TYPE_CHECKING:
    from hilnas.export.emitter import Emitter

Array = npt.NDArray[np.float64]
Shape = tuple[int, ...]


class Activation(Enum):
    """What an operator clamps its own result to, by the schema's ActivationFunctionType."""

    NONE = 0
    RELU = 1
    RELU6 = 3

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest result."""
        low = -math.inf if self is Activation.NONE else 0.0
        return low, 6.0 if self is Activation.RELU6 else math.inf

    def apply(self, x: Tensor) -> Tensor:
        """The activation on a freshly computed `x`, in place."""
        if self is Activation.NONE:
            return x
        return x.clamp_(0, None if self is Activation.RELU else 6)


@dataclass(eq=False)
class Value:
    """One activation tensor, batch 1.

    `shape` is torch's: (1, C, H, W) or (1, F). What is stored is `gain` times what torch computes:
    a constant factor is carried along so that the next convolution's weights can absorb it. `order`
    of a vector: stored[j] is torch's [order[j]], since flattening NHWC gives another order than
    flattening NCHW. `useful`: the range outside of which no consumer can tell values apart.
    `fixed`: the real range that the format or the caller prescribes.
    """

    name: str
    shape: Shape
    gain: float = 1.0
    order: npt.NDArray[np.int64] | None = None
    useful: tuple[float, float] = (-math.inf, math.inf)
    fixed: tuple[float, float] | None = None

    @property
    def stored_shape(self) -> Shape:
        """The shape in the file: NHWC, or (1, F)."""
        if len(self.shape) != 4:
            return self.shape
        n, c, h, w = self.shape
        return (n, h, w, c)

    @property
    def features(self) -> int:
        """Channels, or the length of a vector."""
        return self.shape[1]


class Op(ABC):
    """One operator of the graph: its meaning in float and how it is written."""

    # Inputs and output must have one scale and zero point: bytes are moved, not computed.
    shares_quantization = False

    def __init__(self, name: str, inputs: list[Value], output: Value) -> None:
        self.name = name
        self.inputs = inputs
        self.output = output

    @abstractmethod
    def evaluate(self, *inputs: Tensor) -> Tensor:
        """The operator in float32, on NCHW tensors or vectors of any batch."""

    def simulate(self, inputs: list[Tensor], source: float, result: float) -> Tensor:
        """`evaluate` with constants as they are stored, when the first input and the output have these scales."""
        return self.evaluate(*inputs)

    @abstractmethod
    def emit(self, emitter: Emitter) -> None:
        """Write the operator and its constants."""

    @property
    def bounds(self) -> tuple[float, float]:
        """What the result cannot exceed, whatever the input."""
        return -math.inf, math.inf

    def least_output_scale(self, input_scales: list[float]) -> float:
        """The smallest output scale that the runtimes' fixed-point multipliers can express."""
        return 0.0

    def least_input_scale(self, output_scale: float) -> float:
        """The smallest input scale that the runtimes' fixed-point multipliers can express."""
        return 0.0


class FusingOp(Op):
    """An operator that can clamp its own result."""

    activation = Activation.NONE

    @property
    @override
    def bounds(self) -> tuple[float, float]:
        return self.activation.bounds


@dataclass
class Graph:
    """Operators in the order of execution, from one input to one output."""

    input: Value
    output: Value
    ops: list[Op] = field(default_factory=list)

    def without_dead_ops(self) -> Graph:
        """The same graph without operators whose result nobody reads (a padding that was absorbed)."""
        live = {self.output}
        kept: list[Op] = []
        for op in reversed(self.ops):
            if op.output in live:
                live.update(op.inputs)
                kept.append(op)
        return Graph(self.input, self.output, kept[::-1])


def stored_order(x: Value) -> npt.NDArray[np.int64]:
    """For each stored number of x its place in torch's flattened order."""
    if len(x.shape) == 4:
        return np.arange(math.prod(x.shape)).reshape(x.shape[1:]).transpose(1, 2, 0).ravel()
    return np.arange(math.prod(x.shape)) if x.order is None else x.order
