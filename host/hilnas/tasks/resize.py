"""Resizing of pictures, the one way all splits and the model card speak of."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

RESIZE = "bilinear, antialiased, half-pixel centres"
"""How pictures are resized, for the model card."""


def resize(images: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Return float32 [N, C, H, W] resized to `size` = (height, width)."""
    values = np.ascontiguousarray(images, dtype=np.float32)
    if values.shape[2:] == size:
        return values
    import torch
    from torch.nn import functional

    resized: NDArray[Any] = functional.interpolate(
        torch.from_numpy(values), size=size, mode="bilinear", align_corners=False, antialias=True
    ).numpy()
    return resized


def sized(inputs: "torch.Tensor", size: tuple[int, int]) -> "torch.Tensor":
    """Return model inputs [N, C, H, W] resized to `size` = (height, width), channels last in memory."""
    import torch
    from torch.nn import functional

    if inputs.shape[2:] != size:
        inputs = functional.interpolate(
            inputs, size=size, mode="bilinear", align_corners=False, antialias=True
        )
    return inputs.contiguous(memory_format=torch.channels_last)
