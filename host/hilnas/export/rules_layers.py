"""Rules for layers: convolution, linear, batch normalization, activations, pooling and padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hilnas.export import build_activations as activations
from hilnas.export import build_layers as layers
from hilnas.export import build_tensors as tensors
from hilnas.export.call import Call, pair
from hilnas.export.geometry import Padding, Window
from hilnas.export.ir import Array, Value


def conv_module(call: Call, x: Value) -> Value:
    """nn.Conv2d."""
    layer = call.layer
    if layer.padding_mode != "zeros":
        raise call.unsupported(f"padding_mode '{layer.padding_mode}' is not 'zeros'; use 'zeros'")
    return conv2d(
        call, x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups
    )


def conv2d(
    call: Call,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    """F.conv2d."""
    x = call.image(input)
    kernel = call.constant(weight, "weight")
    depthwise = groups > 1 and groups == x.features and kernel.shape[1] == 1
    if groups != 1 and not depthwise:
        raise call.unsupported(
            f"groups={groups} with {x.features} input channels; use groups=1 or groups={x.features}"
        )
    if kernel.shape[1] != (1 if depthwise else x.features):
        raise call.unsupported(f"weight {list(kernel.shape)} does not fit {x.features} input channels")
    window = Window(pair(kernel.shape[2:]), pair(stride), pair(dilation))
    offset = None if bias is None else call.constant(bias, "bias")
    return layers.conv(
        call.graph, x, kernel, offset, window, padding=_conv_padding(window, padding), depthwise=depthwise
    )


def linear_module(call: Call, x: Value) -> Value:
    """nn.Linear."""
    return linear(call, x, call.layer.weight, call.layer.bias)


def linear(call: Call, input: Any, weight: Any, bias: Any = None) -> Value:
    """F.linear."""
    x = call.vector(input)
    matrix = call.constant(weight, "weight")
    if matrix.shape[1] != x.features:
        raise call.unsupported(f"weight {list(matrix.shape)} does not fit {x.features} features")
    return layers.linear(call.graph, x, matrix, None if bias is None else call.constant(bias, "bias"))


def batch_norm_module(call: Call, x: Value) -> Value:
    """nn.BatchNorm2d and nn.BatchNorm1d."""
    layer = call.layer
    return batch_norm(
        call, x, layer.running_mean, layer.running_var, layer.weight, layer.bias, False, 0.0, layer.eps
    )


def batch_norm(
    call: Call,
    input: Value,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Value:
    """F.batch_norm with running statistics."""
    if running_mean is None or running_var is None or training:
        raise call.unsupported("normalizes by the batch; set track_running_stats=True and train again")
    mean, variance = (
        call.constant(running_mean, "running mean"),
        call.constant(running_var, "running variance"),
    )
    if len(mean) != input.features:
        raise call.unsupported(f"{len(mean)} features do not fit an input of {input.features}")
    scale: Array = 1 / np.sqrt(variance + eps)
    if weight is not None:
        scale = scale * call.constant(weight, "weight")
    shift = -mean * scale
    if bias is not None:
        shift = shift + call.constant(bias, "bias")
    return layers.affine(call.graph, input, scale, shift)


def relu(call: Call, input: Value, inplace: bool = False) -> Value:
    """ReLU."""
    return activations.relu(call.graph, input)


def relu6(call: Call, input: Value, inplace: bool = False) -> Value:
    """ReLU6."""
    return activations.relu(call.graph, input, 6.0)


def hardswish(call: Call, input: Value, inplace: bool = False) -> Value:
    """Hard-swish."""
    return activations.hardswish(call.graph, input)


def hardsigmoid(call: Call, input: Value, inplace: bool = False) -> Value:
    """Hard-sigmoid."""
    return activations.hardsigmoid(call.graph, input)


def sigmoid(call: Call, input: Value) -> Value:
    """Sigmoid."""
    return activations.sigmoid(call.graph, input)


def silu(call: Call, input: Value, inplace: bool = False) -> Value:
    """SiLU (swish)."""
    return activations.silu(call.graph, input)


def clamp(call: Call, input: Value, min: Any = None, max: Any = None) -> Value:
    """torch.clamp with bounds on both sides of zero."""
    low, high = (None if bound is None else float(bound) for bound in (min, max))
    if low == 0 and (high is None or high == 6):
        return activations.relu(call.graph, input, high)
    if (low is not None and low > 0) or (high is not None and high <= 0):
        raise call.unsupported(f"bounds {low} and {high} must lie on both sides of zero")
    return activations.clamp(call.graph, input, low, high)


def hardtanh_module(call: Call, x: Value) -> Value:
    """nn.Hardtanh."""
    return clamp(call, x, call.layer.min_val, call.layer.max_val)


def max_pool_module(call: Call, x: Value) -> Value:
    """nn.MaxPool2d."""
    m = call.layer
    return max_pool2d(call, x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)


def max_pool2d(
    call: Call,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    """F.max_pool2d."""
    x = call.image(input)
    if pair(dilation) != (1, 1) or return_indices:
        raise call.unsupported("dilation and return_indices have no TFLite form; use dilation=1")
    window = Window(pair(kernel_size), pair(stride or kernel_size))
    # torch itself says where windows lie, ceil_mode included.
    like = functional.max_pool2d(_ones(x), window.kernel, window.stride, pair(padding), 1, ceil_mode)
    if window == Window((1, 1), window.stride) and pair(padding) == (0, 0):
        return tensors.subsample(call.graph, x, window.stride)
    return layers.max_pool(call.graph, x, window, _pool_padding(window, x, pair(padding), like))


def average_pool_module(call: Call, x: Value) -> Value:
    """nn.AvgPool2d."""
    m = call.layer
    return avg_pool2d(
        call, x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override
    )


def avg_pool2d(
    call: Call,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    """F.avg_pool2d; what is not a plain mean over kernel² numbers is put right per pixel."""
    x = call.image(input)
    window = Window(pair(kernel_size), pair(stride or kernel_size))
    ones = _ones(x)
    like = functional.avg_pool2d(
        ones, window.kernel, window.stride, pair(padding), ceil_mode, count_include_pad, divisor_override
    )
    pads = _pool_padding(window, x, pair(padding), like)
    padded = functional.pad(ones, (pads.left, pads.right, pads.top, pads.bottom))
    plain = functional.avg_pool2d(padded, window.kernel, window.stride)
    correction = (like / plain).double().numpy()
    trivial = np.allclose(correction, 1, rtol=1e-6)
    return layers.average_pool(call.graph, x, window, pads, None if trivial else correction)


def adaptive_pool_module(call: Call, x: Value) -> Value:
    """nn.AdaptiveAvgPool2d."""
    return adaptive_avg_pool2d(call, x, call.layer.output_size)


def adaptive_avg_pool2d(call: Call, input: Any, output_size: Any) -> Value:
    """F.adaptive_avg_pool2d to sizes that divide the input's."""
    x = call.image(input)
    wanted = (output_size, output_size) if isinstance(output_size, int | None) else output_size
    sizes = [have if want is None else want for have, want in zip(x.shape[2:], wanted, strict=True)]
    if any(have % want for have, want in zip(x.shape[2:], sizes, strict=True)):
        raise call.unsupported(f"{x.shape[2:]} is no multiple of {tuple(sizes)}; pool to 1")
    kernel = (x.shape[2] // sizes[0], x.shape[3] // sizes[1])
    if sizes == [1, 1]:
        return layers.global_mean(call.graph, x)
    return (
        x if kernel == (1, 1) else layers.average_pool(call.graph, x, Window(kernel, kernel), Padding(), None)
    )


def zero_pad_module(call: Call, x: Value) -> Value:
    """nn.ZeroPad2d."""
    return pad(call, x, call.layer.padding)


def pad(call: Call, input: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Value:
    """F.pad with zeros, around the image and the channels."""
    x = call.image(input)
    amounts = [int(amount) for amount in pad]
    if mode != "constant" or value not in (None, 0):
        raise call.unsupported(f"mode '{mode}' with value {value}; pad with zeros")
    if len(amounts) > 6 or len(amounts) % 2 or min(amounts, default=0) < 0:
        raise call.unsupported(f"padding {amounts}; pad image and channels only, by no negative amounts")
    left, right, top, bottom, front, back = amounts + [0] * (6 - len(amounts))
    if not any(amounts):
        return x
    return tensors.pad(call.graph, x, Padding(top, bottom, left, right), (front, back))


def _conv_padding(window: Window, padding: Any) -> Padding:
    if padding == "valid":
        return Padding()
    if padding == "same":
        down, right = (extent - 1 for extent in window.extent)
        return Padding(down // 2, down - down // 2, right // 2, right - right // 2)
    down, right = pair(padding)
    return Padding(down, down, right, right)


def _ones(x: Value) -> Tensor:
    return torch.ones(1, 1, *x.shape[2:])


def _pool_padding(window: Window, x: Value, padding: tuple[int, int], like: Tensor) -> Padding:
    """The padding that gives as many windows as torch has (`like`), which ceil_mode may add to."""
    return window.fitted(x.shape, padding, (like.shape[2], like.shape[3]))
