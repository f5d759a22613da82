"""Operators on single elements: sums, products, clamps and the logistic function."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from hilnas.export.emitter import Emitter, QParams
from hilnas.export.ir import Array, FusingOp, Op, Value
from hilnas.export.writer import Quantization

# XNNPACK's bounds: input / output scale of a sum in [2^-10, 2^8), of a conversion in [2^-8, 2^7],
# the product of scales / output scale of a product in [2^-16, 2^8).
_SUM_LARGEST, _SUM_SMALLEST = 200.0, 2.0**-9
_PRODUCT_LARGEST, _PRODUCT_SMALLEST = 200.0, 2.0**-15
_CONVERSION_LARGEST, _CONVERSION_SMALLEST = 100.0, 2.0**-7


class _Arithmetic(FusingOp):
    """What sums and products have in common: how they are written."""

    code = ""

    def _emit(self, emitter: Emitter, operands: list[int]) -> None:
        result = emitter.tensor(self.output)
        emitter.writer.operator(self.code, operands, [result], fusedActivationFunction=self.activation.value)


class Add(_Arithmetic):
    """The sum of two values, broadcast."""

    code = "ADD"

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        return self.activation.apply(inputs[0] + inputs[1])

    @override
    def emit(self, emitter: Emitter) -> None:
        self._emit(emitter, [emitter.tensor(value) for value in self.inputs])

    @override
    def least_output_scale(self, input_scales: list[float]) -> float:
        return max(input_scales) / _SUM_LARGEST

    @override
    def least_input_scale(self, output_scale: float) -> float:
        return output_scale * _SUM_SMALLEST


class Mul(_Arithmetic):
    """The product of two values, broadcast."""

    code = "MUL"

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        return self.activation.apply(inputs[0] * inputs[1])

    @override
    def emit(self, emitter: Emitter) -> None:
        self._emit(emitter, [emitter.tensor(value) for value in self.inputs])

    @override
    def least_output_scale(self, input_scales: list[float]) -> float:
        return input_scales[0] * input_scales[1] / _PRODUCT_LARGEST


class _WithConstant(_Arithmetic):
    """An operator whose second operand is a constant that broadcasts over an NCHW value."""

    def __init__(self, name: str, source: Value, output: Value, constant: Array) -> None:
        super().__init__(name, [source], output)
        self.constant = constant

    @property
    def _largest(self) -> float:
        return float(np.abs(self.constant).max())

    @abstractmethod
    def _combine(self, x: Tensor, constant: Tensor) -> Tensor:
        """The operator on a value and its constant."""

    @abstractmethod
    def _least_scale(self, source: float, result: float) -> float:
        """The smallest scale of the constant that multipliers can express."""

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        return self.activation.apply(self._combine(inputs[0], torch.from_numpy(self.constant).float()))

    @override
    def simulate(self, inputs: list[Tensor], source: float, result: float) -> Tensor:
        stored, scale = self._quantized(source, result)
        constant = torch.from_numpy(stored * np.float64(scale)).float().to(inputs[0].device)
        return self.activation.apply(self._combine(inputs[0], constant))

    @override
    def emit(self, emitter: Emitter) -> None:
        constant = self._emit_constant(emitter)
        self._emit(emitter, [emitter.tensor(self.inputs[0]), constant])

    def _quantized(self, source: float, result: float) -> tuple[Array, np.float32]:
        """The constant as whole numbers and their scale, symmetric: a single number is exact at 127 · scale."""
        scale = np.float32(max(self._largest / 127, self._least_scale(source, result), 1e-30))
        return np.clip(np.rint(self.constant / np.float64(scale)), -127, 127), scale

    def _emit_constant(self, emitter: Emitter) -> int:
        levels, scale = self._quantized(
            emitter.params(self.inputs[0]).scale, emitter.params(self.output).scale
        )
        stored = levels.astype(np.int8)
        if stored.ndim == 4:
            stored = np.ascontiguousarray(stored.transpose(0, 2, 3, 1))
        quantization = Quantization(np.array([scale], np.float32), np.zeros(1, np.int64))
        return emitter.constant(f"{self.name}/constant", stored, quantization)


class AddConstant(_WithConstant):
    """A value plus a constant."""

    code = "ADD"

    @override
    def _combine(self, x: Tensor, constant: Tensor) -> Tensor:
        return x + constant

    @override
    def _least_scale(self, source: float, result: float) -> float:
        return result * _SUM_SMALLEST

    @override
    def least_output_scale(self, input_scales: list[float]) -> float:
        return max(input_scales[0], self._largest / 127) / _SUM_LARGEST

    @override
    def least_input_scale(self, output_scale: float) -> float:
        return output_scale * _SUM_SMALLEST


class MulConstant(_WithConstant):
    """A value times a constant."""

    code = "MUL"

    @override
    def _combine(self, x: Tensor, constant: Tensor) -> Tensor:
        return x * constant

    @override
    def _least_scale(self, source: float, result: float) -> float:
        return result / source * _PRODUCT_SMALLEST

    @override
    def least_output_scale(self, input_scales: list[float]) -> float:
        return input_scales[0] * self._largest / 127 / _PRODUCT_LARGEST


class Clamp(Op):
    """min(max(x, low), high) with low <= 0 <= high, as a conversion whose output range ends there.

    A RELU operator on int8 is not delegated to XNNPACK; a saturating QUANTIZE is. Without bounds: the
    same numbers in another scale.
    """

    def __init__(
        self, name: str, source: Value, output: Value, low: float | None = None, high: float | None = None
    ) -> None:
        super().__init__(name, [source], output)
        self.low = low
        self.high = high

    @property
    @override
    def bounds(self) -> tuple[float, float]:
        low = -math.inf if self.low is None else self.low
        return low, math.inf if self.high is None else self.high

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return x if self.low is None and self.high is None else x.clamp(self.low, self.high)

    @override
    def emit(self, emitter: Emitter) -> None:
        index, result = emitter.tensor(self.inputs[0]), emitter.params(self.output)
        low, high = result.scale * (-128 - result.zero_point), result.scale * (127 - result.zero_point)
        # An output that shares a wider range (of a concatenation) would saturate too late.
        exceeds = (self.low is not None and low < self.low - result.scale / 2) or (
            self.high is not None and high > self.high + result.scale / 2
        )
        if exceeds:
            narrow = QParams.spanning(
                low if self.low is None else max(low, self.low),
                high if self.high is None else min(high, self.high),
            )
            scratch = emitter.scratch(f"{self.name}/clamped", self.output.stored_shape, narrow)
            emitter.writer.operator("QUANTIZE", [index], [scratch])
            index = scratch
        emitter.writer.operator("QUANTIZE", [index], [emitter.tensor(self.output)])

    @override
    def least_output_scale(self, input_scales: list[float]) -> float:
        return input_scales[0] / _CONVERSION_LARGEST

    @override
    def least_input_scale(self, output_scale: float) -> float:
        return output_scale * _CONVERSION_SMALLEST


class Sigmoid(Op):
    """1 / (1 + exp(−x)); TFLite fixes its output to scale 1/256 and zero point −128."""

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        return inputs[0].sigmoid()

    @override
    def emit(self, emitter: Emitter) -> None:
        emitter.writer.operator("LOGISTIC", [emitter.tensor(self.inputs[0])], [emitter.tensor(self.output)])
