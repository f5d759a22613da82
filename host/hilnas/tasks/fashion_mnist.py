"""`fashion-mnist`: 70,000 pictures of clothes, 28x28 (Xiao et al. 2017), from IDX files."""

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hilnas.tasks.base import Arrays, Task, TaskError, TaskOptions
from hilnas.tasks.split import CODES, OPEN

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


class FashionMnistOptions(TaskOptions):
    """Options of `fashion-mnist`."""

    folder: Path = DEBIAN_FOLDER
    """Where the four IDX files are, gzipped or not; Debian's package dataset-fashion-mnist puts them there."""
    validation_share: float = Field(0.1, gt=0, lt=1)
    flip: bool = True


class FashionMnist(Task):
    """Fashion-MNIST: 10 classes, grey; the official test split stays the test split."""

    Options = FashionMnistOptions
    name = "fashion-mnist"

    def read(self) -> Arrays:
        """Read the four files. TaskError says how to get them."""
        assert isinstance(self.options, FashionMnistOptions)
        folder = self.options.folder.expanduser()
        if not folder.is_dir():
            raise TaskError(
                f"fashion-mnist: {folder} is not a folder; on Debian `apt install dataset-fashion-mnist`, "
                'or set task.folder to the folder that holds "train-images-idx3-ubyte.gz" and the others'
            )
        parts = [(read_idx(folder, f"{p}-images-idx3-ubyte", 3), read_idx(folder, f"{p}-labels-idx1-ubyte", 1))
                 for p in ("train", "t10k")]  # fmt: skip
        images = np.concatenate([pictures for pictures, _ in parts])[:, None]
        labels = np.concatenate([labels for _, labels in parts])
        split = np.repeat(np.array([OPEN, CODES["test"]], np.int8), [len(parts[0][1]), len(parts[1][1])])
        return Arrays(images, labels, _NAMES, split)


def read_idx(folder: Path, stem: str, dimensions: int) -> NDArray[Any]:
    """Read an IDX file of unsigned bytes, gzipped or not. TaskError when it is missing or torn."""
    for path in (folder / f"{stem}.gz", folder / stem):
        if not path.exists():
            continue
        try:
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except (OSError, EOFError, zlib.error) as error:
            raise TaskError(f"{path} cannot be read ({error}); install or copy it again") from error
        header = 4 + 4 * dimensions
        if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
            raise TaskError(f"{path} is no IDX file of {dimensions} dimensions; install or copy it again")
        shape = struct.unpack(f">{dimensions}I", content[4:header])
        if len(content) - header != int(np.prod(shape, dtype=np.int64)):
            raise TaskError(
                f"{path} is torn: {len(content)} bytes for shape {shape}; install or copy it again"
            )
        return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
    raise TaskError(f"fashion-mnist: {folder} holds no {stem}.gz; set task.folder to where it is")
