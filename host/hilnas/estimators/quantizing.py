"""From a trained module to the int8 file that ships: several ways, and the one that measures best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hilnas.estimators.train import int8_accuracy, to_int8
from hilnas.export.errors import ExportError
from hilnas.tasks import Task
from hilnas.tasks.training import Batch, TrainingError, TrainingOptions, train

if TYPE_CHECKING:
    from torch import nn

    from hilnas.export import QuantizationOptions

FINE_TUNED = "quantization-aware training"
"""The name of the file that was fine-tuned, among those of the options."""


class QuantizingOptions(TrainingOptions):
    """How a net is trained, and how it becomes int8 then."""

    quantization: Literal["minmax", "percentile", "mse", "best"] = "minmax"
    """How ranges of activations are set: all that calibration saw, all but the outermost, or those with the
    least squared error; `best` tries each, with and without bias correction, on validation data."""
    percentile: float = Field(99.99, gt=50, le=100)
    """What `percentile` keeps below a range's upper end, in percent, and above its lower one."""
    bias_correction: bool = False
    """Whether biases make up for what rounded weights add on average; `best` tries both."""
    qat_epochs: int = Field(0, ge=0)
    """Passes over the training data with int8 simulated, after the training in float; 0 leaves this out.
    What they give ships if it is better on validation data; the weights that are kept are those in float."""
    qat_learning_rate: float = Field(1e-3, gt=0, le=1)
    """Peak learning rate of these, in shares of a channel's largest weight."""

    def candidates(self) -> list["QuantizationOptions"]:
        """Return the options to try after training, the simplest first."""
        from hilnas.export import QuantizationOptions

        if self.quantization != "best":
            return [QuantizationOptions(self.quantization, self.percentile, self.bias_correction)]
        plain = [
            QuantizationOptions("minmax"),
            QuantizationOptions("percentile", self.percentile),
            QuantizationOptions("mse"),
        ]
        return plain + [replace(each, bias_correction=True) for each in plain]


@dataclass(frozen=True)
class Quantized:
    """An int8 file, how it was made, and what every way gave on the data that they were compared on."""

    model: bytes
    choice: str
    accuracies: dict[str, float]
    """The share of examples that each candidate's file gets right, in the order of simplicity."""


def choose_int8(
    module: "nn.Module",
    calibration: Batch,
    task: Task,
    data: Batch,
    candidates: Sequence["QuantizationOptions"],
) -> tuple[Quantized, "QuantizationOptions"]:
    """Export under each of `candidates`; return the file that is most accurate on `data`, and its options.

    Of equally accurate ones it is the first, so name the simplest first. That accuracy is a little
    optimistic, being the best of several: use validation data, and never the test split. ValueError without
    candidates; ExportError as `export_int8`.
    """
    if not candidates:
        raise ValueError("there is nothing to choose from: name at least one QuantizationOptions()")
    files = [to_int8(module, calibration, task, options) for options in candidates]
    shares = [int8_accuracy(file, data) for file in files]
    best = shares.index(max(shares))
    told = {options.name: share for options, share in zip(candidates, shares, strict=True)}
    return Quantized(files[best], candidates[best].name, told), candidates[best]


def fine_tune(
    module: "nn.Module",
    calibration: Batch,
    task: Task,
    data: Batch,
    options: QuantizingOptions,
    start: "QuantizationOptions",
    seed: int,
    told: Callable[[float], None] | None = None,
) -> bytes:
    """Train on `data` with int8 simulated for `options.qat_epochs`, from the ranges of `start`; return the file.

    The module keeps its weights. Deterministic for a seed as `train` is. TrainingError when it diverges.
    """
    from hilnas.export import trainable_int8

    net = trainable_int8(module, calibration.inputs, input_range=task.normalisation.range, options=start)
    training = TrainingOptions(
        epochs=options.qat_epochs,
        batch=options.batch,
        learning_rate=options.qat_learning_rate,
        weight_decay=0.0,
        label_smoothing=options.label_smoothing,
        warmup_share=options.warmup_share,
        device=options.device,
        precision=options.precision,
    )
    try:
        train(net, task, data, training, seed, told)
        return net.to_int8()
    except (TrainingError, ExportError) as error:
        raise TrainingError(
            f"with int8 simulated the training broke down: lower qat_learning_rate "
            f"(now {options.qat_learning_rate}), or set qat_epochs = 0"
        ) from error


def quantize(
    module: "nn.Module",
    calibration: Batch,
    task: Task,
    data: Batch,
    validation: Batch,
    options: QuantizingOptions,
    seed: int,
    told: Callable[[float], None] | None = None,
) -> Quantized:
    """Return the int8 file of a trained module by `options`: chosen on `validation`, fine-tuned on `data`."""
    found, start = choose_int8(module, calibration, task, validation, options.candidates())
    if options.qat_epochs == 0:
        return found
    tuned = fine_tune(module, calibration, task, data, options, start, seed, told)
    accuracy = int8_accuracy(tuned, validation)
    accuracies = {**found.accuracies, FINE_TUNED: accuracy}
    if accuracy > found.accuracies[found.choice]:
        return Quantized(tuned, FINE_TUNED, accuracies)
    return replace(found, accuracies=accuracies)
