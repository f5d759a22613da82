"""`digits`: 1,797 handwritten digits that ship with scikit-learn, enlarged from 8x8."""

import numpy as np
from pydantic import Field

from hilnas.tasks.base import Arrays, Task, TaskOptions


class DigitsOptions(TaskOptions):
    """Options of `digits`."""

    size: int = Field(32, ge=8, le=128, multiple_of=8)
    """Side of the pictures."""


class Digits(Task):
    """Optical recognition of handwritten digits (UCI), 10 classes, grey."""

    Options = DigitsOptions
    name = "digits"
    preparation = "pixels of 0 to 16 times 255/16, enlarged bilinearly, rounded"

    def read(self) -> Arrays:
        """Read them from scikit-learn and enlarge them bilinearly."""
        from sklearn.datasets import load_digits

        from hilnas.tasks.resize import resize

        data = load_digits()
        pixels = (data.images * (255.0 / 16.0)).astype(np.float32)[:, None]
        size = self.options.model_dump()["size"]
        images = np.clip(np.rint(resize(pixels, (size, size))), 0, 255).astype(np.uint8)
        return Arrays(images, data.target.astype(np.int64), tuple(str(digit) for digit in range(10)))
