"""`train`: the candidate is trained for a short while, exported, and its int8 file scored."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from hilnas.estimators.base import EstimateResult
from hilnas.spaces import Space
from hilnas.tasks import Task
from hilnas.tasks.training import Batch, TrainingOptions, float_accuracy, prepare, recalibrate, train
from hilnas.trial import Architecture, Estimate

if TYPE_CHECKING:
    from torch import nn

    from hilnas.export import QuantizationOptions

CALIBRATION_EXAMPLES = 64
"""Training examples whose activations set the quantization ranges."""


class TrainOptions(TrainingOptions):
    """Settings of `train`: how long, on how much, and at which size."""

    subset: int | None = Field(None, ge=32)
    """Training examples to use; all when left out."""
    resolution: float = Field(1.0, gt=0, le=1)
    """Scale of the input size while estimating: less is cheaper and says less."""


class Train:
    """Low-fidelity training. The accuracy is that of the int8 file on the whole validation split."""

    Options = TrainOptions

    def __init__(self, options: TrainOptions) -> None:
        self.options = options

    def estimate(self, architecture: Architecture, space: Space, task: Task, seed: int) -> EstimateResult:
        """Train from scratch, export, evaluate; seeded by `seed` and the architecture."""
        size = scaled(space.input_shape(architecture)[1:], self.options.resolution)
        module, calibration, data = train_from_scratch(
            architecture, space, task, self.options, seed, size, self.options.subset
        )
        # After a long training the running statistics are as good, so a winner keeps them.
        recalibrate(module, data, seed)
        validation = prepare(task, task.split("validation"), size)
        model = to_int8(module, calibration, task)
        accuracy = int8_accuracy(model, validation)
        return EstimateResult(
            Estimate(
                estimator="train",
                accuracy=accuracy,
                accuracy_se=binomial_se(accuracy, len(validation.labels)),
                float_accuracy=float_accuracy(module, validation),
                model_sha256=None,
                details={"epochs": float(self.options.epochs), "examples": float(len(validation.labels))},
            ),
            model,
        )


def train_from_scratch(
    architecture: Architecture,
    space: Space,
    task: Task,
    options: TrainingOptions,
    seed: int,
    size: tuple[int, int],
    subset: int | None = None,
    told: Callable[[float], None] | None = None,
) -> tuple["nn.Module", Batch, Batch]:
    """Return a module trained on the training split at `size`, what to calibrate it with, and that data."""
    import torch

    own_seed = seed_of(architecture, seed)
    torch.manual_seed(own_seed)
    module = space.build(architecture)
    examples = task.split("train")
    data = prepare(task, examples if subset is None else examples.subset(subset, seed), size)
    train(module, task, data, options, own_seed, told)
    calibration = prepare(task, examples.subset(CALIBRATION_EXAMPLES, seed), size)
    return module, calibration, data


def to_int8(
    module: "nn.Module", calibration: Batch, task: Task, options: "QuantizationOptions | None" = None
) -> bytes:
    """Return the int8 .tflite file of a module whose inputs are the task's pictures."""
    from hilnas.export import export_int8

    return export_int8(module, calibration.inputs, input_range=task.normalisation.range, options=options)


def int8_accuracy(model: bytes, data: Batch) -> float:
    """Return the share of examples that an int8 file gets right, by ai-edge-litert on this machine."""
    from hilnas.export import Int8Model

    predicted = Int8Model(model).predict(data.inputs.numpy()).argmax(axis=1)
    return float((predicted == data.labels.numpy()).mean())


def binomial_se(share: float, count: int) -> float:
    """Return the standard error of a share of `count` examples; at 0 and 1 that of half an example off."""
    inside = min(max(share, 0.5 / count), 1 - 0.5 / count)
    return math.sqrt(inside * (1 - inside) / count)


def full_accuracy(
    architecture: Architecture, space: Space, task: Task, options: TrainingOptions, seed: int
) -> Estimate:
    """Train an architecture at full size, as a winner is, and return its int8 accuracy on validation data.

    That is what estimators are held against.
    """
    size = space.input_shape(architecture)[1:]
    module, calibration, _ = train_from_scratch(architecture, space, task, options, seed, size)
    validation = prepare(task, task.split("validation"), size)
    accuracy = int8_accuracy(to_int8(module, calibration, task), validation)
    return Estimate(
        estimator="full",
        accuracy=accuracy,
        accuracy_se=binomial_se(accuracy, len(validation.labels)),
        float_accuracy=float_accuracy(module, validation),
        details={"epochs": float(options.epochs), "examples": float(len(validation.labels))},
    )


def seed_of(architecture: Architecture, seed: int) -> int:
    """Return the seed of an architecture's own training."""
    return (seed * 1_000_003 + int(architecture.digest[:8], 16)) % 2**31


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return an input size (height, width) at a scale, 8 at least."""
    return max(8, round(size[0] * scale)), max(8, round(size[1] * scale))
