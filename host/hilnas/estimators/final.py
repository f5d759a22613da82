"""The end of a winner's way: trained at length, made int8 by what measures best, and the test split met."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from hilnas.estimators.quantizing import Quantized, QuantizingOptions, quantize
from hilnas.estimators.train import int8_accuracy, train_from_scratch
from hilnas.spaces import Space
from hilnas.tasks import Task
from hilnas.tasks.training import float_accuracy, prepare
from hilnas.trial import Architecture


@dataclass(frozen=True)
class Final:
    """A winner's int8 file and how it was made, its accuracies, and the weights of the float module.

    With quantization-aware training the weights are those before it: what it learns are the folded ones of
    the file.
    """

    quantized: Quantized
    accuracies: dict[str, float]
    weights: bytes


def evaluate_final(
    architecture: Architecture,
    space: Space,
    task: Task,
    options: QuantizingOptions,
    seed: int,
    told: Callable[[float], None] | None = None,
) -> Final:
    """Retrain a winner at full size, and quantize it.

    This is where the test split is met, once for a winner: what is chosen is chosen on validation data.
    `told` gets the share of epochs done, in float and with int8 simulated.
    """
    import torch

    size = space.input_shape(architecture)[1:]
    epochs = options.epochs + options.qat_epochs

    def told_from(before: int, count: int) -> Callable[[float], None] | None:
        return None if told is None else lambda share: told((before + share * count) / epochs)

    module, calibration, data = train_from_scratch(
        architecture, space, task, options, seed, size, told=told_from(0, options.epochs)
    )
    validation, test = (prepare(task, task.split(name), size) for name in ("validation", "test"))
    quantized = quantize(
        module,
        calibration,
        task,
        data,
        validation,
        options,
        seed,
        told_from(options.epochs, options.qat_epochs),
    )
    accuracies = {
        "validation_accuracy": quantized.accuracies[quantized.choice],
        "validation_float_accuracy": float_accuracy(module, validation),
        "test_accuracy": int8_accuracy(quantized.model, test),
        "test_float_accuracy": float_accuracy(module, test),
    }
    weights = io.BytesIO()
    torch.save(module.state_dict(), weights)
    return Final(quantized, accuracies, weights.getvalue())
