"""`image-folder`: pictures on disk, a folder for each class."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hilnas.tasks.base import Arrays, Task, TaskError, TaskOptions
from hilnas.tasks.split import CODES, OPEN

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


class ImageFolderOptions(TaskOptions):
    """Options of `image-folder`."""

    folder: Path
    """Holds a folder for each class, or `train`, `validation` (or `val`) and `test` that do."""
    size: int = Field(64, ge=8, le=512)
    """Side to which every picture is brought: the shorter side is scaled, the middle cut out."""
    colour: Literal["rgb", "grey"] = "rgb"
    """Channels to read."""
    flip: bool = True


class ImageFolder(Task):
    """Pictures read with Pillow; what cannot be read is an error that names the file."""

    Options = ImageFolderOptions
    name = "image-folder"
    preparation = "the shorter side is scaled, the middle cut out"

    def read(self) -> Arrays:
        """Read every picture. TaskError names the folder or file that is wrong."""
        assert isinstance(self.options, ImageFolderOptions)
        folder = self.options.folder.expanduser()
        if not folder.is_dir():
            raise TaskError(f"image-folder: {folder} is not a folder; set task.folder")
        parts = _official_parts(folder)
        names = sorted({entry.name for part in parts for entry in _subfolders(part)})
        if len(names) < 2:
            raise TaskError(
                f"image-folder: {folder} holds {len(names)} class folders; give one folder for each class, "
                "two at least"
            )
        images: list[NDArray[Any]] = []
        labels: list[int] = []
        split: list[int] = []
        for part, code in parts.items():
            for label, name in enumerate(names):
                for path in _pictures(part / name):
                    images.append(self._picture(path))
                    labels.append(label)
                    split.append(code)
        if not images:
            raise TaskError(f"image-folder: {folder} holds no pictures ({', '.join(sorted(_SUFFIXES))})")
        official = np.array(split, np.int8) if len(parts) > 1 else None
        return Arrays(np.stack(images), np.array(labels), tuple(names), official)

    def _picture(self, path: Path) -> NDArray[Any]:
        from PIL import Image, ImageOps

        assert isinstance(self.options, ImageFolderOptions)
        side = self.options.size
        try:
            with Image.open(path) as picture:
                mode = "RGB" if self.options.colour == "rgb" else "L"
                upright = ImageOps.exif_transpose(picture)
                fitted = ImageOps.fit(upright.convert(mode), (side, side), Image.Resampling.BILINEAR)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise TaskError(
                f"image-folder: {path} cannot be read ({error}); mend it or take it out"
            ) from error
        pixels = np.asarray(fitted, np.uint8)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _official_parts(folder: Path) -> dict[Path, int]:
    """Folders of an official split with their codes, or the folder itself."""
    aliases = {name: name for name in CODES} | (
        {} if (folder / "validation").is_dir() else {"validation": "val"}
    )
    if all((folder / name).is_dir() for name in aliases.values()):
        return {folder / aliases[name]: code for name, code in CODES.items()}
    return {folder: OPEN}


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
