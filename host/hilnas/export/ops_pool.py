"""Operators that reduce images: maximum and mean of windows, the global mean, every n-th pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from hilnas.export.emitter import Emitter
from hilnas.export.geometry import Padding, Window
from hilnas.export.ir import Op, Value
from hilnas.export.writer import Quantization


class GlobalMean(Op):
    """The mean over height and width, (1, C, H, W) to (1, C, 1, 1)."""

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        return inputs[0].mean((2, 3), keepdim=True)

    @override
    def emit(self, emitter: Emitter) -> None:
        # keepDims: without it tflite-runtime takes a path that is thirty times slower.
        sources = [emitter.tensor(self.inputs[0]), emitter.integers([1, 2])]
        emitter.writer.operator("MEAN", sources, [emitter.tensor(self.output)], keepDims=True)

    @override
    def least_output_scale(self, input_scales: list[float]) -> float:
        return input_scales[0] / 100

    @override
    def least_input_scale(self, output_scale: float) -> float:
        return output_scale / 200


class MaxPool(Op):
    """The maximum of each window; what is padded never wins."""

    shares_quantization = True

    def __init__(self, name: str, source: Value, output: Value, window: Window, padding: Padding) -> None:
        super().__init__(name, [source], output)
        self.window = window
        self.padding = padding

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        p = self.padding
        x = (
            functional.pad(inputs[0], (p.left, p.right, p.top, p.bottom), value=-torch.inf)
            if p
            else inputs[0]
        )
        return functional.max_pool2d(x, self.window.kernel, self.window.stride)

    @override
    def emit(self, emitter: Emitter) -> None:
        source, index = self.inputs[0], emitter.tensor(self.inputs[0])
        params, stored = emitter.params(source), source.stored_shape
        before, size = (self.padding.top, self.padding.left), (self.output.shape[2], self.output.shape[3])
        every, steps = replace(self.window, stride=(1, 1)), self.window.stride
        spots = (-(-source.shape[2] // steps[0]), -(-source.shape[3] // steps[1]))
        result = emitter.tensor(self.output)
        if not self.window.fitted(source.shape, before, size):
            self._emit_pool(emitter, index, result, self.window, same=False)
        elif self.window.is_same(source.shape, before, size):
            self._emit_pool(emitter, index, result, self.window, same=True)
        elif params.zero_point == -128:
            # Nothing is below zero here, so padding with zero is padding with the lowest number.
            rows = self.window.fitted(source.shape, before, size).nhwc()
            padded = emitter.pad(index, self.name, stored, params, rows)
            self._emit_pool(emitter, padded, result, self.window, same=False)
        elif size == spots and every.is_same(source.shape, before, (source.shape[2], source.shape[3])):
            # PADV2 with the lowest number breaks XNNPACK's partition: pool every pixel, then take
            # each stride-th one with a depthwise 1 x 1 convolution by exactly one.
            pooled = emitter.scratch(f"{self.name}/every", stored, params)
            self._emit_pool(emitter, index, pooled, every, same=True)
            _emit_subsample(emitter, pooled, self, self.window.stride)
        else:
            rows = self.window.fitted(source.shape, before, size).nhwc()
            self._emit_padv2(emitter, index, result, rows)

    def _emit_padv2(self, emitter: Emitter, index: int, result: int, rows: list[list[int]]) -> None:
        source = self.inputs[0]
        params, stored = emitter.params(source), source.stored_shape
        shape = [extent + sum(row) for extent, row in zip(stored, rows, strict=True)]
        padded = emitter.scratch(f"{self.name}/padded", shape, params)
        lowest = emitter.constant(
            f"{self.name}/lowest", np.array(-128, np.int8).reshape(1), params.quantization()
        )
        emitter.writer.operator("PADV2", [index, emitter.integers(rows), lowest], [padded])
        self._emit_pool(emitter, padded, result, self.window, same=False)

    def _emit_pool(self, emitter: Emitter, source: int, result: int, window: Window, same: bool) -> None:
        emitter.writer.operator(
            "MAX_POOL_2D",
            [source],
            [result],
            padding=0 if same else 1,
            strideH=window.stride[0],
            strideW=window.stride[1],
            filterHeight=window.kernel[0],
            filterWidth=window.kernel[1],
        )


class Subsample(Op):
    """Each stride-th pixel, x[:, :, ::s, ::t]."""

    shares_quantization = True

    def __init__(self, name: str, source: Value, output: Value, stride: tuple[int, int]) -> None:
        super().__init__(name, [source], output)
        self.stride = stride

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        return inputs[0][:, :, :: self.stride[0], :: self.stride[1]]

    @override
    def emit(self, emitter: Emitter) -> None:
        _emit_subsample(emitter, emitter.tensor(self.inputs[0]), self, self.stride)


def _emit_subsample(emitter: Emitter, index: int, op: Op, stride: tuple[int, int]) -> None:
    """The result of `op` from each stride-th pixel, exactly: a depthwise 1 x 1 convolution by one.

    STRIDED_SLICE with a stride is not delegated to XNNPACK.
    """
    channels, scale = op.output.features, emitter.params(op.output).scale
    unit = np.full(channels, np.float32(1 / 127), np.float32)
    zeros = np.zeros(channels, np.int64)
    ones = np.full((1, 1, 1, channels), 127, np.int8)
    weight = emitter.constant(f"{op.name}/one", ones, Quantization(unit, zeros, axis=3))
    bias = emitter.constant(
        f"{op.name}/zero", np.zeros(channels, np.int32), Quantization(np.float32(scale) * unit, zeros)
    )
    emitter.writer.operator(
        "DEPTHWISE_CONV_2D",
        [index, weight, bias],
        [emitter.tensor(op.output)],
        padding=1,
        strideH=stride[0],
        strideW=stride[1],
        depthMultiplier=1,
        dilationHFactor=1,
        dilationWFactor=1,
    )
