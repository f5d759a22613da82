"""Counts on how many units examples agree, at every activation function that a net calls, by module or by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from hilnas.proxies.functions import RELUS, first_argument


class Codes(TorchFunctionMode):
    """While it is entered, adds up the kernel of a net's codes."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel: torch.Tensor | None = None
        """Units on which two examples agree [N, N], float64; None before the first activation."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Look at an activation's input, which it may change, and then let it be computed."""
        if func in RELUS:
            self._add((first_argument(args, kwargs).flatten(1) > 0).float())
        return func(*args, **(kwargs or {}))

    def _add(self, codes: torch.Tensor) -> None:
        # Sums of ones are exact in float32 up to 2^24 units.
        agreeing = (codes @ codes.T + (1 - codes) @ (1 - codes).T).double()
        self.kernel = agreeing if self.kernel is None else self.kernel + agreeing
