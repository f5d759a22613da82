"""Which of torch's functions are activations or norms, however a net calls them: by module, by name, in place."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Functions = frozenset[Callable[..., Any]]

RELUS: Functions = frozenset(
    {
        functional.relu, functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_,
        functional.relu6, functional.hardtanh, functional.hardtanh_, torch.clamp, torch.clamp_, Tensor.clamp,
        Tensor.clamp_, torch.clamp_min, torch.clamp_min_, Tensor.clamp_min, Tensor.clamp_min_,
        functional.leaky_relu, functional.leaky_relu_, functional.prelu, torch.prelu, Tensor.prelu,
        functional.elu, functional.elu_, functional.celu, functional.selu, functional.silu, functional.mish,
        functional.gelu, functional.hardswish,
    }
)  # fmt: skip
"""ReLU and what is a bounded or bent one."""

NORMS: Functions = frozenset(
    {
        functional.batch_norm, functional.group_norm, functional.instance_norm, functional.layer_norm,
        torch.batch_norm, torch.group_norm, torch.instance_norm, torch.layer_norm,
    }
)  # fmt: skip
"""Functions that rescale what they get."""


def first_argument(args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> Tensor:
    """Return what one of these functions is asked about."""
    found: Tensor = args[0] if args else (kwargs or {})["input"]
    return found
