"""Operators that move numbers: concatenation, padding, slices and reshapes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from hilnas.export.emitter import Emitter
from hilnas.export.geometry import Padding
from hilnas.export.ir import Op, Value

_NHWC_AXIS = {1: 3, 2: 1, 3: 2}


class Concat(Op):
    """Values one after the other along torch's axis `dim`; at most five, which is what XNNPACK takes."""

    shares_quantization = True

    def __init__(self, name: str, inputs: list[Value], output: Value, dim: int) -> None:
        super().__init__(name, inputs, output)
        self.dim = dim

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, self.dim)

    @override
    def emit(self, emitter: Emitter) -> None:
        axis = _NHWC_AXIS[self.dim] if len(self.output.shape) == 4 else self.dim
        sources = [emitter.tensor(value) for value in self.inputs]
        emitter.writer.operator("CONCATENATION", sources, [emitter.tensor(self.output)], axis=axis)


class Pad(Op):
    """Zeros around the image, and before and after the channels."""

    shares_quantization = True

    def __init__(
        self, name: str, source: Value, output: Value, padding: Padding, channels: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__(name, [source], output)
        self.padding = padding
        self.channels = channels

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        p = self.padding
        return functional.pad(inputs[0], (p.left, p.right, p.top, p.bottom, *self.channels))

    @override
    def emit(self, emitter: Emitter) -> None:
        rows = [*self.padding.nhwc()[:3], list(self.channels)]
        sources = [emitter.tensor(self.inputs[0]), emitter.integers(rows)]
        emitter.writer.operator("PAD", sources, [emitter.tensor(self.output)])


class Slice(Op):
    """From `begin` (torch's axes), as large as the output's shape."""

    shares_quantization = True

    def __init__(self, name: str, source: Value, output: Value, begin: tuple[int, ...]) -> None:
        super().__init__(name, [source], output)
        self.begin = begin

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        for axis in range(1, x.ndim):
            x = x.narrow(axis, self.begin[axis], self.output.shape[axis])
        return x

    @override
    def emit(self, emitter: Emitter) -> None:
        begin = Value("", self.begin).stored_shape
        end = [start + size for start, size in zip(begin, self.output.stored_shape, strict=True)]
        sources = [
            emitter.tensor(self.inputs[0]),
            *(emitter.integers(row) for row in (begin, end, [1] * len(end))),
        ]
        emitter.writer.operator("STRIDED_SLICE", sources, [emitter.tensor(self.output)])


class Reshape(Op):
    """The stored numbers in another shape; NHWC on both sides."""

    shares_quantization = True

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        stored = x.permute(0, 2, 3, 1) if x.ndim == 4 else x
        result = stored.reshape(-1, *self.output.stored_shape[1:])
        return result.permute(0, 3, 1, 2) if result.ndim == 4 else result

    @override
    def emit(self, emitter: Emitter) -> None:
        _emit_reshape(emitter, emitter.tensor(self.inputs[0]), self.output)


class FlattenChannelsFirst(Op):
    """(1, C, H, W) to a vector in torch's own order, for whom the order matters: the network's output."""

    shares_quantization = True

    @override
    def evaluate(self, *inputs: Tensor) -> Tensor:
        return inputs[0].flatten(1)

    @override
    def emit(self, emitter: Emitter) -> None:
        source = self.inputs[0]
        scratch = emitter.scratch(f"{self.name}/transposed", source.shape, emitter.params(source))
        sources = [emitter.tensor(source), emitter.integers([0, 3, 1, 2])]
        emitter.writer.operator("TRANSPOSE", sources, [scratch])
        _emit_reshape(emitter, scratch, self.output)


def _emit_reshape(emitter: Emitter, source: int, output: Value) -> None:
    shape = list(output.stored_shape)
    emitter.writer.operator(
        "RESHAPE", [source, emitter.integers(shape)], [emitter.tensor(output)], newShape=shape
    )
