"""Which rule turns which torch layer, function or method into operators."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from hilnas.export import rules_layers as layers
from hilnas.export import rules_tensors as tensors
from hilnas.export.call import Call, Rule

__all__ = ["IDENTITIES", "Call", "find_rule"]

# What does nothing in evaluation mode.
IDENTITIES: frozenset[Any] = frozenset(
    {
        nn.Identity,
        nn.Dropout,
        nn.Dropout1d,
        nn.Dropout2d,
        nn.AlphaDropout,
        nn.FeatureAlphaDropout,
        functional.dropout,
        functional.dropout2d,
        functional.alpha_dropout,
        functional.feature_alpha_dropout,
        torch.dropout,
        "contiguous",
        "clone",
        "detach",
        "float",
    }
)

_MODULES: dict[type[nn.Module], Rule] = {
    nn.Conv2d: layers.conv_module,
    nn.Linear: layers.linear_module,
    nn.BatchNorm2d: layers.batch_norm_module,
    nn.BatchNorm1d: layers.batch_norm_module,
    nn.ReLU: layers.relu,
    nn.ReLU6: layers.relu6,
    nn.Hardtanh: layers.hardtanh_module,
    nn.Hardswish: layers.hardswish,
    nn.Hardsigmoid: layers.hardsigmoid,
    nn.Sigmoid: layers.sigmoid,
    nn.SiLU: layers.silu,
    nn.MaxPool2d: layers.max_pool_module,
    nn.AvgPool2d: layers.average_pool_module,
    nn.AdaptiveAvgPool2d: layers.adaptive_pool_module,
    nn.ZeroPad2d: layers.zero_pad_module,
    nn.Flatten: tensors.flatten_module,
}

_FUNCTIONS: dict[Any, Rule] = {
    functional.conv2d: layers.conv2d,
    torch.conv2d: layers.conv2d,
    functional.linear: layers.linear,
    functional.batch_norm: layers.batch_norm,
    functional.relu: layers.relu,
    functional.relu_: layers.relu,
    torch.relu: layers.relu,
    torch.relu_: layers.relu,
    functional.relu6: layers.relu6,
    functional.hardswish: layers.hardswish,
    functional.hardsigmoid: layers.hardsigmoid,
    functional.sigmoid: layers.sigmoid,
    torch.sigmoid: layers.sigmoid,
    functional.silu: layers.silu,
    torch.clamp: layers.clamp,
    torch.clip: layers.clamp,
    functional.max_pool2d: layers.max_pool2d,
    torch.max_pool2d: layers.max_pool2d,
    functional.avg_pool2d: layers.avg_pool2d,
    functional.adaptive_avg_pool2d: layers.adaptive_avg_pool2d,
    functional.pad: layers.pad,
    torch.add: tensors.add,
    operator.add: tensors.add,
    operator.iadd: tensors.add,
    torch.sub: tensors.sub,
    operator.sub: tensors.sub,
    torch.mul: tensors.mul,
    operator.mul: tensors.mul,
    operator.imul: tensors.mul,
    torch.div: tensors.div,
    operator.truediv: tensors.div,
    torch.cat: tensors.cat,
    torch.concat: tensors.cat,
    torch.concatenate: tensors.cat,
    torch.chunk: tensors.chunk,
    torch.split: tensors.split,
    torch.mean: tensors.mean,
    torch.flatten: tensors.flatten,
    torch.reshape: tensors.reshape,
    torch.squeeze: tensors.squeeze,
    torch.unsqueeze: tensors.unsqueeze,
    operator.getitem: tensors.getitem,
}

_METHODS: dict[str, Rule] = {
    "relu": layers.relu,
    "relu_": layers.relu,
    "sigmoid": layers.sigmoid,
    "clamp": layers.clamp,
    "clip": layers.clamp,
    "add": tensors.add,
    "add_": tensors.add,
    "sub": tensors.sub,
    "mul": tensors.mul,
    "mul_": tensors.mul,
    "div": tensors.div,
    "chunk": tensors.chunk,
    "split": tensors.split,
    "mean": tensors.mean,
    "flatten": tensors.flatten,
    "reshape": tensors.reshape_method,
    "view": tensors.reshape_method,
    "squeeze": tensors.squeeze,
    "unsqueeze": tensors.unsqueeze,
}


def find_rule(target: Any, layer: nn.Module | None) -> Rule | None:
    """The rule for a layer's type (or the torch type whose forward it keeps), a function or a method."""
    if layer is None:
        return _METHODS.get(target) if isinstance(target, str) else _FUNCTIONS.get(target)
    for kind in type(layer).__mro__:
        if kind in _MODULES and kind.forward is type(layer).forward:
            return _MODULES[kind]
    return None
