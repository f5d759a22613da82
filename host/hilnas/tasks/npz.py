"""`npz`: any labelled pictures in a NumPy archive; log-mel pictures of sounds too."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.tasks.base import Arrays, Task, TaskError, TaskOptions
from hilnas.tasks.split import CODES

_KEYS = ("x", "y", "split", "labels")


class NpzOptions(TaskOptions):
    """Options of `npz`."""

    path: Path
    """The archive: `x` [N, H, W] or [N, H, W, C], `y` [N], optional `split` [N] and `labels`."""


class Npz(Task):
    """Arrays `x` and `y`; `split` (0 train, 1 validation, 2 test) is kept where there is one."""

    Options = NpzOptions
    name = "npz"

    def read(self) -> Arrays:
        """Read the archive. TaskError names the array that is missing or wrong."""
        assert isinstance(self.options, NpzOptions)
        path = self.options.path.expanduser()
        if not path.is_file():
            raise TaskError(f"npz: there is no file {path}; set task.path to the archive")
        try:
            archive = np.load(path, allow_pickle=False)
            if whole := isinstance(archive, np.lib.npyio.NpzFile):
                with archive:
                    held = archive.files
                    content = {key: archive[key] for key in archive.files if key in _KEYS}
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise TaskError(
                f"npz: {path} cannot be read ({error}); is it a whole .npz of plain arrays?"
            ) from error
        if not whole:
            raise TaskError(f"npz: {path} is a single array; save it with np.savez(path, x=..., y=...)")
        for key in ("x", "y"):
            if key not in content:
                raise TaskError(
                    f'npz: {path} has no array "{key}"; it holds {", ".join(sorted(held)) or "nothing"}'
                )
        return _arrays(content, path)


def _arrays(content: dict[str, NDArray[Any]], path: Path) -> Arrays:
    images, labels = content["x"], content["y"]
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise TaskError(
            f'npz: "x" of {path} has shape {images.shape}; give [N, H, W], or [N, H, W, C] with 1 or 3 channels'
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or len(labels) == 0:
        raise TaskError(f'npz: "y" of {path} is {labels.dtype} {labels.shape}; give whole numbers [N]')
    split = content.get("split")
    if split is not None:
        if split.shape != labels.shape or not np.isin(split, list(CODES.values())).all():
            raise TaskError(f'npz: "split" of {path} must be [N] of 0 (train), 1 (validation), 2 (test)')
        split = split.astype(np.int8)
    if labels.max() >= len(labels):
        raise TaskError(
            f'npz: "y" of {path} goes up to {labels.max()} with {len(labels)} examples; number the classes from 0'
        )
    count = int(labels.max()) + 1 if labels.min() >= 0 else 0
    names = tuple(str(name) for name in content["labels"].reshape(-1)) if "labels" in content else ()
    if names and len(names) < count:
        raise TaskError(f'npz: "labels" of {path} names {len(names)} classes, "y" has {count}')
    return Arrays(
        images.transpose(0, 3, 1, 2), labels, names or tuple(str(number) for number in range(count)), split
    )
