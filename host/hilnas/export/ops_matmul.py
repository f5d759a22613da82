"""Operators with weights: convolution, depthwise convolution and fully connected.

Weights are symmetric int8 per output channel, biases int32 at input scale × weight scale, as in
Jacob et al. 2018 (arXiv:1712.05877) and Krishnamoorthi 2018 (arXiv:1806.08342).
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from hilnas.export.emitter import Emitter
from hilnas.export.geometry import Padding, Window
from hilnas.export.ir import Array, FusingOp, Value
from hilnas.export.rounding import straight_through
from hilnas.export.writer import Quantization

_LARGEST_MULTIPLIER = 200.0  # XNNPACK takes input · weight / output scales below 256
_SMALLEST_MULTIPLIER = 2.0**-28  # and from 2^-32; below this a weight of 127 adds nothing to any output
_LARGEST_BIAS = 2.0**30  # half of int32: the other half is room for the products


class _Weighted(FusingOp):
    """What convolution and fully connected have in common: `weight` [O, …] and `bias` [O].

    `learned`: whether they come from training, and are not a pooling in disguise.
    """

    learned = True

    def __init__(self, name: str, source: Value, output: Value, weight: Array, bias: Array) -> None:
        super().__init__(name, [source], output)
        self.weight = weight
        self.bias = bias

    def rescale(self, scale: Array, shift: Array) -> None:
        """Replace the result y by scale · y + shift, per output channel: batch-norm folding."""
        self.weight = self.weight * scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        self.bias = self.bias * scale + shift

    @abstractmethod
    def compute(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The result before the activation, of weights and biases in float32."""

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        return self.activation.apply(self.compute(inputs[0], *self.parameters()))

    @override
    def simulate(self, inputs: list[Tensor], source: float, result: float) -> Tensor:
        weight, bias = (tensor.to(inputs[0].device) for tensor in rounded(*self.parameters(), source, result))
        return self.activation.apply(self.compute(inputs[0], weight, bias))

    @override
    def least_output_scale(self, input_scales: list[float]) -> float:
        return input_scales[0] * float(np.abs(self.weight).max(initial=0.0)) / 127 / _LARGEST_MULTIPLIER

    def parameters(self) -> tuple[Tensor, Tensor]:
        """Weight and bias in float32."""
        return torch.from_numpy(self.weight).float(), torch.from_numpy(self.bias).float()

    def _quantized(self, emitter: Emitter) -> tuple[Array, Quantization, int]:
        """Weights as whole numbers [O, …], their scales, and the index of the bias tensor."""
        source, result = emitter.params(self.inputs[0]).scale, emitter.params(self.output).scale
        weight, scale, bias, bias_scale = (
            tensor.numpy()
            for tensor in _levels(torch.from_numpy(self.weight), torch.from_numpy(self.bias), source, result)
        )
        zeros = np.zeros(len(scale), np.int64)
        stored = bias.astype(np.int32)
        bias_index = emitter.constant(f"{self.name}/bias", stored, Quantization(bias_scale, zeros))
        return weight, Quantization(scale, zeros), bias_index


def rounded(weight: Tensor, bias: Tensor, source: float, result: float) -> tuple[Tensor, Tensor]:
    """Weights [O, …] and biases [O] as an int8 file holds them, for scales of the input and the output.

    Gradients go through as if nothing had been rounded (Bengio et al. 2013, arXiv:1308.3432).
    """
    levels, scale, bias_levels, bias_scale = _levels(weight.detach(), bias.detach(), source, result)
    stored = levels * _per_channel(scale, weight)
    return straight_through(weight, stored), straight_through(bias, bias_levels * bias_scale)


def _levels(
    weight: Tensor, bias: Tensor, source: float, result: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights as whole numbers, their float32 scales, biases as whole numbers, and theirs."""
    largest = weight.reshape(len(weight), -1).abs().amax(1)
    # A dead or tiny channel gets a scale that the multiplier and the bias can be expressed in.
    scale = (largest / 127).clamp(min=result / source * _SMALLEST_MULTIPLIER)
    scale = torch.maximum(scale, bias.abs() / (source * _LARGEST_BIAS)).float()
    levels = (weight / _per_channel(scale.to(weight.dtype), weight)).round().clamp(-127, 127)
    bias_scale = torch.tensor(source, dtype=torch.float32) * scale
    return levels, scale, (bias / bias_scale.to(bias.dtype)).round(), bias_scale


def _per_channel(scale: Tensor, weight: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (weight.ndim - 1))


class Conv(_Weighted):
    """A convolution [O, I, kh, kw] with groups 1, or depthwise [C · multiplier, 1, kh, kw]."""

    def __init__(
        self,
        name: str,
        source: Value,
        output: Value,
        weight: Array,
        bias: Array,
        *,
        window: Window,
        padding: Padding,
        depthwise: bool,
    ) -> None:
        super().__init__(name, source, output, weight, bias)
        self.window = window
        self.padding = padding
        self.depthwise = depthwise

    @override
    def compute(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        pad = self.padding
        symmetric = pad.top == pad.bottom and pad.left == pad.right
        if not symmetric:
            x = functional.pad(x, (pad.left, pad.right, pad.top, pad.bottom))
        return functional.conv2d(
            x,
            weight,
            bias,
            self.window.stride,
            (pad.top, pad.left) if symmetric else 0,
            self.window.dilation,
            x.shape[1] if self.depthwise else 1,
        )

    @override
    def emit(self, emitter: Emitter) -> None:
        source = self.inputs[0]
        size = (self.output.shape[2], self.output.shape[3])
        before = (self.padding.top, self.padding.left)
        same = self.window.is_same(source.shape, before, size)
        index = emitter.tensor(source)
        needed = self.window.fitted(source.shape, before, size)
        if needed and not same:
            params = emitter.params(source)
            index = emitter.pad(index, self.name, source.stored_shape, params, needed.nhwc())
        weight, quantization, bias = self._quantized(emitter)
        if self.depthwise:
            # [C·m, 1, kh, kw] to [1, kh, kw, C·m]: both count output channels as c · m + j.
            weight = weight.transpose(1, 2, 3, 0)
            quantization = Quantization(quantization.scale, quantization.zero_point, axis=3)
        else:
            weight = weight.transpose(0, 2, 3, 1)
        constant = emitter.constant(f"{self.name}/weight", weight.astype(np.int8), quantization)
        options = {
            "padding": 0 if same and needed else 1,
            "strideH": self.window.stride[0],
            "strideW": self.window.stride[1],
            "dilationHFactor": self.window.dilation[0],
            "dilationWFactor": self.window.dilation[1],
            "fusedActivationFunction": self.activation.value,
        }
        if self.depthwise:
            options["depthMultiplier"] = self.output.features // source.features
        code = "DEPTHWISE_CONV_2D" if self.depthwise else "CONV_2D"
        emitter.writer.operator(code, [index, constant, bias], [emitter.tensor(self.output)], **options)


class Linear(_Weighted):
    """A fully connected layer [O, I] on a vector."""

    @override
    def compute(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.linear(x, weight, bias)

    @override
    def emit(self, emitter: Emitter) -> None:
        weight, quantization, bias = self._quantized(emitter)
        constant = emitter.constant(f"{self.name}/weight", weight.astype(np.int8), quantization)
        emitter.writer.operator(
            "FULLY_CONNECTED",
            [emitter.tensor(self.inputs[0]), constant, bias],
            [emitter.tensor(self.output)],
            fusedActivationFunction=self.activation.value,
        )
