"""What a task is: labelled pictures in three splits that never mix, and their normalisation.

A task object is light: it holds options only and reads its data on first use, so it travels to
worker processes by pickle, and each process reads the files once.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from hilnas.errors import HilnasError
from hilnas.options import Options
from hilnas.tasks.split import CODES, LEFT_OUT, assign_splits

SplitName = Literal["train", "validation", "test"]


class TaskError(HilnasError, ValueError):
    """The data cannot be used; the message names the file or array and the remedy."""


@dataclass(frozen=True)
class Split:
    """Pictures [N, C, H, W], uint8 or float32, and their labels [N], int64."""

    images: NDArray[Any]
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, count: int, seed: int) -> "Split":
        """Return `count` examples drawn without replacement, the same for a seed; all when too few."""
        if count >= len(self):
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return Split(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Normalisation:
    """Model input = (pixel - mean) / std, channel by channel, after resizing to the model's size."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixel_low: float
    pixel_high: float

    def apply(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return float32 [N, C, H, W] of raw pictures."""
        mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (self.mean, self.std))
        normalised: NDArray[Any] = (images.astype(np.float32) - mean) / std
        return normalised

    @property
    def range(self) -> tuple[float, float]:
        """Return the lowest and highest model input that a picture can hold."""
        lows = [(self.pixel_low - mean) / std for mean, std in zip(self.mean, self.std, strict=True)]
        highs = [(self.pixel_high - mean) / std for mean, std in zip(self.mean, self.std, strict=True)]
        return min(lows), max(highs)


@dataclass(frozen=True)
class Arrays:
    """What a data set's reader returns: pictures as stored, labels, and the official split if any."""

    images: NDArray[Any]
    labels: NDArray[Any]
    names: tuple[str, ...]
    split: NDArray[Any] | None = None
    """Codes of `CODES` [N], uint8; -1 marks training data from which validation may be drawn."""


class TaskOptions(Options):
    """Options that every task has."""

    validation_share: float = Field(0.2, gt=0, lt=1)
    """Share of the data held out for scoring candidates, where the data set does not say."""
    test_share: float = Field(0.2, gt=0, lt=1)
    """Share held out for the winners alone, where the data set does not say."""
    training_examples: int | None = Field(None, ge=32)
    """Training examples to use, drawn by the seed, for a quick look at a large data set; all when left out."""
    flip: bool = False
    """Augment by mirroring left and right."""
    shift: int = Field(2, ge=0, le=16)
    """Augment by shifting up to this many pixels each way."""

    @model_validator(mode="after")
    def _something_to_train_on(self) -> "TaskOptions":
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share must leave something to train on")
        return self


class Task(ABC):
    """A data set with seeded splits. Derive and say how to `read` it."""

    Options: ClassVar[type[TaskOptions]] = TaskOptions
    name: ClassVar[str] = ""
    preparation: ClassVar[str] = ""
    """How `read` brings a stored picture to the task's shape and unit, for whoever uses the model."""

    def __init__(self, options: TaskOptions | None = None, seed: int = 0) -> None:
        self.options = options if options is not None else self.Options()
        self.seed = seed

    @abstractmethod
    def read(self) -> Arrays:
        """Read the data set. TaskError names what is wrong with it."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the [C, H, W] of a picture."""
        channels, height, width = self._data.images.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return len(self._data.names)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return self._data.names

    def split(self, name: SplitName) -> Split:
        """Return one split."""
        data = self._data
        assert data.split is not None
        chosen = data.split == CODES[name]
        return Split(data.images[chosen], data.labels[chosen])

    @property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the training pictures, channel by channel."""
        return _normalisation(self)

    @property
    def _data(self) -> Arrays:
        return _load(self)

    def _key(self) -> tuple[Any, ...]:
        return type(self), self.options.model_dump_json(), self.seed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options, "seed": self.seed}


@lru_cache(maxsize=4)
def _load(task: Task) -> Arrays:
    """Read, check and split a task's data, once a process."""
    arrays = check_arrays(task.read(), task.name)
    if arrays.images.min() == arrays.images.max():
        raise TaskError(
            f"{task.name}: every pixel of every picture is {arrays.images.min()}: there is nothing to learn; "
            "were they read or scaled wrongly?"
        )
    codes = assign_splits(
        arrays.images,
        arrays.labels,
        arrays.split,
        task.options.validation_share,
        task.options.test_share,
        task.seed,
    )
    training = np.flatnonzero(codes == CODES["train"])
    kept = task.options.training_examples
    if kept is not None and kept < len(training):
        codes[np.random.default_rng(task.seed).permutation(training)[kept:]] = LEFT_OUT
    for name, code in CODES.items():
        if not np.any(codes == code):
            raise TaskError(
                f"{task.name}: the {name} split is empty: give it examples, or leave the split to us "
                f"({len(codes)} examples, task.validation_share, task.test_share)"
            )
    if len(np.unique(arrays.labels[codes == CODES["train"]])) < 2:
        raise TaskError(f"{task.name}: the training split holds one class only; a search needs at least two")
    return replace(arrays, split=codes)


@lru_cache(maxsize=4)
def _normalisation(task: Task) -> Normalisation:
    """Compute a task's normalisation, once a process."""
    images = task.split("train").images
    whole = images.dtype == np.uint8
    means, stds = zip(*(_moments(images[:, channel]) for channel in range(images.shape[1])), strict=True)
    return Normalisation(
        means,
        tuple(max(std, 1e-6) for std in stds),
        0.0 if whole else float(images.min()),
        255.0 if whole else float(images.max()),
    )


def _moments(pixels: NDArray[Any]) -> tuple[float, float]:
    """Return mean and standard deviation; of bytes by counting them, without a copy in floats."""
    if pixels.dtype != np.uint8:
        return float(pixels.mean(dtype=np.float64)), float(pixels.std(dtype=np.float64))
    shares = np.bincount(pixels.ravel(), minlength=256) / pixels.size
    levels = np.arange(256)
    mean = float(shares @ levels)
    return mean, float(np.sqrt(shares @ (levels - mean) ** 2))


def check_arrays(arrays: Arrays, name: str) -> Arrays:
    """Return `arrays` as uint8 or float32 [N, C, H, W] and int64 labels; TaskError when they are not fit."""
    images, labels = arrays.images, arrays.labels
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise TaskError(
            f"{name}: pictures have shape {images.shape}; give [N, H, W], or [N, H, W, C] with 1 or 3 channels"
        )
    if min(images.shape[2:]) < 8:
        raise TaskError(
            f"{name}: pictures of {images.shape[2]}x{images.shape[3]} are too small; 8x8 at least"
        )
    if labels.shape != (len(images),):
        raise TaskError(f"{name}: {len(images)} pictures but labels of shape {labels.shape}; give one each")
    if not np.issubdtype(labels.dtype, np.integer):
        raise TaskError(f"{name}: labels are {labels.dtype}; give whole numbers from 0")
    if len(labels) and (labels.min() < 0 or labels.max() >= len(arrays.names)):
        raise TaskError(
            f"{name}: labels run from {labels.min()} to {labels.max()}, "
            f"but there are {len(arrays.names)} classes; number them from 0"
        )
    if len(np.unique(labels)) < 2:
        raise TaskError(f"{name}: there is one class only; a search needs at least two")
    if images.dtype != np.uint8:
        if not (np.issubdtype(images.dtype, np.floating) or np.issubdtype(images.dtype, np.integer)):
            raise TaskError(f"{name}: pictures are {images.dtype}; give uint8 or a float type")
        images = images.astype(np.float32)
        bad = ~np.isfinite(images).all(axis=(1, 2, 3))
        if bad.any():
            raise TaskError(
                f"{name}: {int(bad.sum())} pictures hold NaN or infinite pixels, the first is number "
                f"{int(np.argmax(bad))}; clean them or leave them out"
            )
    return replace(arrays, images=np.ascontiguousarray(images), labels=labels.astype(np.int64))
