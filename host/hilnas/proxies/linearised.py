"""A net without its norms and bounds, for flows that must neither be rescaled nor saturate."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

NORMS: frozenset[Callable[..., Any]] = frozenset(
    {
        functional.batch_norm, functional.group_norm, functional.instance_norm, functional.layer_norm,
        torch.batch_norm, torch.group_norm, torch.instance_norm, torch.layer_norm,
    }
)  # fmt: skip
"""Functions that pass on what they get."""
BENT: frozenset[Callable[..., Any]] = frozenset(
    {
        functional.relu6, functional.hardtanh, functional.hardswish, functional.silu, functional.gelu,
        functional.elu, functional.leaky_relu, functional.prelu, torch.prelu,
    }
)  # fmt: skip
"""Functions that count as ReLU."""


class Linearised(TorchFunctionMode):
    """While it is entered, norms are the identity and bent ReLUs are ReLUs, called by module or by name."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute a function, or what stands for it."""
        if func in NORMS:
            return args[0]
        if func in BENT:
            return torch.relu(args[0])
        return func(*args, **(kwargs or {}))
