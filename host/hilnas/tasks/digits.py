"""`digits`: 1,797 handwritten digits that ship with scikit-learn, enlarged from 8x8."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from pydantic import Field

from hilnas.tasks.base import Arrays, Task, TaskError, TaskOptions


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
        """Read scikit-learn's file of them and enlarge them bilinearly."""
        from hilnas.tasks.resize import resize

        spec = find_spec("sklearn")  # whose import takes a hundred times as long as reading the file
        if spec is None or spec.origin is None:
            raise TaskError(
                'the data of "digits" comes with scikit-learn, which is not here: install hilnas[host]'
            )
        table = np.loadtxt(Path(spec.origin).parent / "datasets/data/digits.csv.gz", delimiter=",")
        pixels = (table[:, :-1].reshape(-1, 8, 8) * (255.0 / 16.0)).astype(np.float32)[:, None]
        size = self.options.model_dump()["size"]
        images = np.clip(np.rint(resize(pixels, (size, size))), 0, 255).astype(np.uint8)
        return Arrays(images, table[:, -1].astype(np.int64), tuple(str(digit) for digit in range(10)))
