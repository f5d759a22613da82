"""A net without its norms and bounds, for flows that must neither be rescaled nor saturate."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from hilnas.proxies.functions import NORMS, RELUS, first_argument


class Linearised(TorchFunctionMode):
    """While it is entered, norms are the identity and bent ReLUs are ReLUs."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute a function, or what stands for it."""
        if func in NORMS:
            return first_argument(args, kwargs)
        if func in RELUS:
            return torch.relu(first_argument(args, kwargs))
        return func(*args, **(kwargs or {}))
