"""Rules for tensor functions: arithmetic, concatenation, slices, means and shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from hilnas.export import build_layers as layers
from hilnas.export import build_tensors as build
from hilnas.export.call import Call
from hilnas.export.ir import Array, Value


def add(call: Call, input: Any, other: Any, *, alpha: float = 1) -> Value:
    """a + b, or a + constant."""
    if alpha != 1:
        raise call.unsupported("alpha is not 1; multiply before")
    if isinstance(input, Value) and isinstance(other, Value):
        return build.add(call.graph, input, other)
    x, constant = (input, other) if isinstance(input, Value) else (other, input)
    shift = _per_channel(call, x, constant)
    return x if not shift.any() else layers.affine(call.graph, x, np.ones_like(shift), shift)


def sub(call: Call, input: Any, other: Any) -> Value:
    """a - constant, or constant - a."""
    if isinstance(input, Value) and isinstance(other, Value):
        raise call.unsupported("the difference of two activations; negate weights and add")
    if isinstance(input, Value):
        shift = -_per_channel(call, input, other)
        return layers.affine(call.graph, input, np.ones_like(shift), shift)
    shift = _per_channel(call, other, input)
    return layers.affine(call.graph, other, -np.ones_like(shift), shift)


def mul(call: Call, input: Any, other: Any) -> Value:
    """a · b, or a · constant."""
    if isinstance(input, Value) and isinstance(other, Value):
        return build.mul(call.graph, input, other)
    x, constant = (input, other) if isinstance(input, Value) else (other, input)
    scale = _per_channel(call, x, constant)
    return layers.affine(call.graph, x, scale, np.zeros_like(scale))


def div(call: Call, input: Any, other: Any) -> Value:
    """a / constant."""
    if not isinstance(input, Value) or isinstance(other, Value):
        raise call.unsupported("division by an activation; multiply by a gate")
    divisor = _per_channel(call, input, other)
    if not divisor.all():
        raise call.unsupported("division by zero")
    return layers.affine(call.graph, input, 1 / divisor, np.zeros_like(divisor))


def cat(call: Call, tensors: Any, dim: int = 0) -> Value:
    """torch.cat on channels, height or width."""
    if not all(isinstance(value, Value) for value in tensors):
        raise call.unsupported("concatenates constants; concatenate activations only")
    values = list(tensors)
    rank = len(values[0].shape)
    axis = dim % rank
    shapes = {(*value.shape[:axis], *value.shape[axis + 1 :]) for value in values}
    if axis == 0 or len(shapes) != 1:
        raise call.unsupported(f"shapes {[value.shape for value in values]} do not line up on axis {dim}")
    return values[0] if len(values) == 1 else build.concat(call.graph, values, axis)


def chunk(call: Call, input: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    """torch.chunk on channels, height or width."""
    return split(call, input, -(-input.shape[dim] // chunks), dim)


def split(call: Call, tensor: Value, split_size: Any, dim: int = 0, **named: Any) -> tuple[Value, ...]:
    """torch.split on channels, height or width."""
    axis = dim % len(tensor.shape)
    length = tensor.shape[axis]
    sizes = split_size
    if isinstance(split_size, int):
        sizes = [min(split_size, length - start) for start in range(0, length, split_size)]
    if axis == 0 or sum(sizes) != length:
        raise call.unsupported(f"parts {sizes} of axis {dim} of length {length}")
    starts = np.cumsum([0, *sizes])
    return tuple(
        _part(call, tensor, axis, int(start), size) for start, size in zip(starts, sizes, strict=False)
    )


def mean(call: Call, input: Any, dim: Any = None, keepdim: bool = False) -> Value:
    """The mean over height and width."""
    x = call.image(input)
    axes = sorted(axis % 4 for axis in ([dim] if isinstance(dim, int) else dim or range(4)))
    if axes != [2, 3]:
        raise call.unsupported(f"mean over axes {dim}; only over (2, 3), height and width")
    result = layers.global_mean(call.graph, x)
    return result if keepdim else build.reshape(call.graph, result, (1, x.features))


def flatten_module(call: Call, x: Value) -> Value:
    """nn.Flatten."""
    return flatten(call, x, call.layer.start_dim, call.layer.end_dim)


def flatten(call: Call, input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    """torch.flatten."""
    rank = len(input.shape)
    start, end = start_dim % rank, end_dim % rank
    if start == 0:
        raise call.unsupported("flattens the batch; use start_dim=1")
    joined = math.prod(input.shape[start : end + 1])
    return _reshaped(call, input, (*input.shape[:start], joined, *input.shape[end + 1 :]))


def reshape(call: Call, input: Value, shape: Any) -> Value:
    """torch.reshape."""
    sizes = [int(size) for size in shape]
    known = math.prod(size for size in sizes if size >= 0)
    total = math.prod(input.shape)
    resolved = tuple(total // max(known, 1) if size < 0 else size for size in sizes)
    if sizes.count(-1) > 1 or math.prod(resolved) != total:
        raise call.unsupported(f"shape {sizes} does not fit {list(input.shape)}")
    return _reshaped(call, input, resolved)


def reshape_method(call: Call, input: Value, *shape: Any) -> Value:
    """Tensor.reshape and Tensor.view."""
    return reshape(call, input, shape[0] if isinstance(shape[0], tuple | list) else shape)


def squeeze(call: Call, input: Value, dim: Any = None) -> Value:
    """torch.squeeze of named axes."""
    rank = len(input.shape)
    axes = (
        range(1, rank) if dim is None else [axis % rank for axis in ([dim] if isinstance(dim, int) else dim)]
    )
    if dim is None or 0 in axes:
        raise call.unsupported("name the axes to squeeze, without the batch: flatten(1)")
    shape = [size for axis, size in enumerate(input.shape) if axis not in axes or size != 1]
    return _reshaped(call, input, tuple(shape))


def unsqueeze(call: Call, input: Value, dim: int) -> Value:
    """torch.unsqueeze."""
    axis = dim % (len(input.shape) + 1)
    return _reshaped(call, input, (*input.shape[:axis], 1, *input.shape[axis:]))


def getitem(call: Call, source: Any, index: Any) -> Any:
    """x[:, a:b, ::2, ::2], y[:, :, None, None], or one of several results."""
    if not isinstance(source, Value):
        return source[index]
    items = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in items:
        place = items.index(Ellipsis)
        missing = len(source.shape) - sum(item is not None and item is not Ellipsis for item in items)
        items[place : place + 1] = [slice(None)] * missing
    if all(item in (None, slice(None)) for item in items):
        shape = iter(source.shape)
        sizes = [1 if item is None else next(shape) for item in items]
        return _reshaped(call, source, (*sizes, *shape))
    return _sliced(call, source, items)


def _sliced(call: Call, x: Value, items: list[Any]) -> Value:
    if not all(isinstance(item, slice) for item in items):
        raise call.unsupported(f"index {items}; use slices on channels, height and width")
    begin, sizes, steps = [0] * len(x.shape), list(x.shape), [1] * len(x.shape)
    for axis, item in enumerate(items):
        start, stop, step = item.indices(x.shape[axis])
        begin[axis], sizes[axis], steps[axis] = start, stop - start, step
    if min(steps) < 1 or min(sizes) < 1 or steps[:2] != [1, 1] or sizes[0] != 1:
        raise call.unsupported(f"index {items}; steps over height and width only, and nothing empty")
    part = build.slice(call.graph, x, tuple(begin), tuple(sizes))
    return build.subsample(call.graph, part, (steps[2], steps[3])) if len(steps) == 4 else part


def _part(call: Call, x: Value, axis: int, start: int, size: int) -> Value:
    begin, shape = [0] * len(x.shape), list(x.shape)
    begin[axis], shape[axis] = start, size
    return build.slice(call.graph, x, tuple(begin), tuple(shape))


def _reshaped(call: Call, x: Value, shape: tuple[int, ...]) -> Value:
    # Three axes occur between two squeezes; no layer takes them.
    if len(shape) not in (2, 3, 4) or shape[0] != 1:
        raise call.unsupported(f"shape {list(shape)}; only [N, F] and [N, C, H, W] are known")
    return build.reshape(call.graph, x, shape)


def _per_channel(call: Call, x: Value, constant: Any) -> Array:
    """A number, or a tensor that varies along the channels alone, as one number a channel."""
    tensor = constant if isinstance(constant, torch.Tensor) else torch.tensor(float(constant))
    array = call.constant(tensor, "operand")
    if array.size == 1:
        return np.full(x.features, float(array.reshape(())))
    full = (1,) * (len(x.shape) - array.ndim) + array.shape
    if len(full) != len(x.shape) or full != (1, x.features, *[1] * (len(x.shape) - 2)):
        raise call.unsupported(f"operand of shape {list(array.shape)}; one number a channel at most")
    return array.reshape(-1)
