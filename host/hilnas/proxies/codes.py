"""Counts on how many units examples agree, at every activation function that a net calls, by module or by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
CODED = frozenset(
    {
        _aten.relu, _aten.relu_, _aten.relu6, _aten.relu6_, _aten.hardtanh, _aten.hardtanh_,
        _aten.clamp_min, _aten.clamp_min_, _aten.threshold, _aten.threshold_, _aten.leaky_relu,
        _aten.leaky_relu_, _aten._prelu_kernel, _aten.elu, _aten.elu_, _aten.silu, _aten.silu_, _aten.gelu,
        _aten.hardswish, _aten.hardswish_,
    }
)  # fmt: skip
"""Operators that are ReLU or a bent one; ReLU6 reaches torch as hardtanh."""


class Codes(TorchDispatchMode):
    """While it is entered, adds up the kernel of a net's codes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernel: torch.Tensor | None = None
        """Units on which two examples agree [N, N], float64; None before the first activation."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Look at an activation's input, which it may change, and then let it be computed."""
        if func.overloadpacket in CODED:
            self._add((args[0].flatten(1) > 0).float())
        return func(*args, **(kwargs or {}))

    def _add(self, codes: torch.Tensor) -> None:
        # Sums of ones are exact in float32 up to 2^24 units.
        agreeing = (codes @ codes.T + (1 - codes) @ (1 - codes).T).double()
        self.kernel = agreeing if self.kernel is None else self.kernel + agreeing
