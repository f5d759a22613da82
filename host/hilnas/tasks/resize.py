"""Resizing of pictures, the one way all splits and the model card speak of."""

import numpy as np

RESIZE = "bilinear, antialiased, half-pixel centres"
"""How pictures are resized, for the model card."""


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return float32 [N, C, H, W] resized to `size` = (height, width)."""
    values = np.ascontiguousarray(images, dtype=np.float32)
    if values.shape[2:] == size:
        return values
    import torch
    from torch.nn import functional

    resized: np.ndarray = functional.interpolate(
        torch.from_numpy(values), size=size, mode="bilinear", align_corners=False, antialias=True
    ).numpy()
    return resized
