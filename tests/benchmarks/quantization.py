"""What each way to int8 is worth: float, the exporter's options, and quantization-aware training, side by side.

python -m tests.benchmarks.quantization digits --nets 4
python -m tests.benchmarks.quantization digits --nets 4 --spoil 100
python -m tests.benchmarks.quantization spiking
python -m tests.benchmarks.quantization fashion-mnist --nets 3 --subset 6000 --epochs 3 --batch 64 --kernels 3

Random mbconv nets are trained, then made int8 by every way. Figures are test
accuracies in points; `best` is the way that validation chose, so it may be worse on the test split than one that
was not chosen. `averaged` trains with moving averages of what each tensor's extremes are (Jacob et al. 2018), the
peer of the step sizes that `hilnas` learns. `--spoil 100` gives a channel that is always zero a weight in the last
layer a hundred times the largest: float knows no difference, and int8 has few levels left for the others. Since fine-tuning is training, too, the
float net is trained on for as long in the end, by the same settings. `spiking` is a small net on digits with a
hidden number that nobody reads and that is huge for the brightest pictures alone; both trainings begin with the
ranges of a percentile there, and figures are those of validation.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hilnas.estimators.quantizing import QuantizingOptions, choose_int8, fine_tune
from hilnas.estimators.train import int8_accuracy, train_from_scratch
from hilnas.export import QuantizationOptions
from hilnas.export.emitter import QParams
from hilnas.export.exporter import quantized_graph
from hilnas.export.ir import Value
from hilnas.export.quantize import QuantizedGraph
from hilnas.export.rounding import fake_quantize
from hilnas.export.trainable import TrainableInt8
from hilnas.plugins import Axis, find
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.tasks import Task
from hilnas.tasks.training import Batch, TrainingOptions, float_accuracy, prepare, train
from hilnas.trial import Architecture
from tests.unit import test_quantizing

KEPT = 0.99  # of a moving average at each step


class Averaged(TrainableInt8):
    """Ranges follow what training sees in place of being learned; the rest is the same."""

    def __init__(self, quantized: QuantizedGraph) -> None:
        super().__init__(quantized)
        self.log_steps.requires_grad_(False)
        self._ends: list[tuple[float, float]] = [(0.0, 0.0)] * len(self.log_steps)
        for value, place in self._place.items():
            known = quantized.params[value]
            ends = tuple(known.scale * (level - known.zero_point) for level in (-128, 127))
            self._ends[place] = (ends[0], ends[1])

    def _params(self) -> dict[Value, QParams]:
        find_root = self._quantized.groups.find
        return {find_root(value): QParams.spanning(*self._ends[at]) for value, at in self._place.items()}

    def _steps(self) -> Tensor:
        return torch.tensor([QParams.spanning(*ends).scale for ends in self._ends])

    def _stored(self, value: Value, tensor: Tensor, steps: Tensor) -> Tensor:
        place = self._place[value]
        if self.training and self._free[place]:
            seen = max(tensor.min().item(), value.useful[0], -1e30), min(tensor.max().item(), value.useful[1])
            low, high = (
                KEPT * old + (1 - KEPT) * new for old, new in zip(self._ends[place], seen, strict=True)
            )
            self._ends[place] = min(low, 0.0), max(high, 0.0)
        params = QParams.spanning(*self._ends[place])
        return fake_quantize(tensor, torch.tensor(params.scale), params.zero_point)


@dataclass(frozen=True)
class Net:
    """A trained module and what it is quantized with and measured on."""

    module: torch.nn.Module
    calibration: Batch
    data: Batch
    validation: Batch
    test: Batch
    seed: int


def trained(
    task: Task, space: MBConv, architecture: Architecture, options: QuantizingOptions, subset: int, seed: int
) -> Net:
    """Train a net and prepare its data."""
    size = space.input_shape(architecture)[1:]
    module, calibration, data = train_from_scratch(architecture, space, task, options, seed, size, subset)
    validation, test = (prepare(task, task.split(name), size) for name in ("validation", "test"))
    return Net(module, calibration, data, validation, test, seed)


def spoil(module: torch.nn.Module, times: float) -> None:
    """Silence a channel of the head, and let the classifier weigh it `times` as much as anything else."""
    head = [layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)][-1]
    classifier = module.get_submodule("classifier")
    with torch.no_grad():
        head.weight[0] = head.bias[0] = 0.0
        classifier.weight[:, 0] = times * classifier.weight.abs().amax(1)


def averaged(net: Net, task: Task, options: QuantizingOptions) -> bytes:
    """Fine-tune with moving averages, all else as `fine_tune`."""
    twin = Averaged(
        quantized_graph(net.module, net.calibration.inputs, task.normalisation.range, QuantizationOptions())
    )
    train(twin, task, net.data, as_long(options), net.seed)
    return twin.to_int8()


def as_long(options: QuantizingOptions) -> TrainingOptions:
    """The training of `fine_tune`."""
    return TrainingOptions(
        epochs=options.qat_epochs,
        batch=options.batch,
        learning_rate=options.qat_learning_rate,
        weight_decay=0.0,
        label_smoothing=options.label_smoothing,
        warmup_share=options.warmup_share,
    )


def compared(net: Net, task: Task, options: QuantizingOptions) -> dict[str, float]:
    """Test accuracy of every way, in points."""
    chosen, _ = choose_int8(net.module, net.calibration, task, net.validation, options.candidates())
    rows = {"float": float_accuracy(net.module, net.test)}
    for candidate in options.candidates():
        found, _ = choose_int8(net.module, net.calibration, task, net.test, [candidate])
        rows[candidate.name] = found.accuracies[candidate.name]
    rows["best"] = rows[chosen.choice]
    begin = time.perf_counter()
    tuned = fine_tune(net.module, net.calibration, task, net.data, options, QuantizationOptions(), net.seed)
    print(f"  fine-tuned in {time.perf_counter() - begin:.0f} s", flush=True)
    rows["QAT learned"] = int8_accuracy(tuned, net.test)
    rows["QAT averaged"] = int8_accuracy(averaged(net, task, options), net.test)
    train(net.module, task, net.data, as_long(options), net.seed)
    rows["float, trained on as long"] = float_accuracy(net.module, net.test)
    found, _ = choose_int8(net.module, net.calibration, task, net.test, [QuantizationOptions()])
    rows["its minmax"] = found.accuracies["minmax"]
    return {name: 100 * share for name, share in rows.items()}


def spiking() -> None:
    """Print a row for each way with a net whose activations have outliers."""
    task, data = test_quantizing.TASK, test_quantizing.splits()
    net = test_quantizing.spiking_net(data)
    options = QuantizingOptions(batch=32, quantization="best", percentile=99.9, qat_epochs=4)
    start = QuantizationOptions("percentile", options.percentile)
    found, _ = choose_int8(net, data.calibration, task, data.validation, options.candidates())
    tuned = fine_tune(net, data.calibration, task, data.train, options, start, 0)
    twin = Averaged(quantized_graph(net, data.calibration.inputs, task.normalisation.range, start))
    train(twin, task, data.train, as_long(options), 0)
    rows = {
        "float": float_accuracy(net, data.validation),
        **found.accuracies,
        "QAT learned": int8_accuracy(tuned, data.validation),
        "QAT averaged": int8_accuracy(twin.to_int8(), data.validation),
    }
    for name, share in rows.items():
        print(f"| {name} | {100 * share:.2f} |")


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=["digits", "fashion-mnist", "spiking"])
    parser.add_argument("--nets", type=int, default=4)
    parser.add_argument("--subset", type=int, default=10**9, help="training examples")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--qat-epochs", type=int, default=2)
    parser.add_argument("--qat-learning-rate", type=float, default=QuantizingOptions().qat_learning_rate)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--spoil", type=float, default=0.0)
    parser.add_argument("--kernels", type=int, nargs="+", default=[3, 5])
    given = parser.parse_args()
    if given.task == "spiking":
        spiking()
        return
    kind = find(Axis.TASK, given.task)
    task = kind(kind.Options())
    space = MBConv(task.shape, task.classes, MBConvOptions(resolutions=[1.0], kernels=given.kernels))
    options = QuantizingOptions(
        epochs=given.epochs,
        batch=given.batch,
        learning_rate=0.01,
        quantization="best",
        qat_epochs=given.qat_epochs,
        qat_learning_rate=given.qat_learning_rate,
    )
    generator = np.random.default_rng(0)
    rows = []
    for seed in range(given.nets):
        net = trained(task, space, space.sample(generator), options, given.subset, seed)
        if given.spoil:
            spoil(net.module, given.spoil)
        rows.append(compared(net, task, options))
        print(
            f"net {seed}: " + ", ".join(f"{name} {point:.2f}" for name, point in rows[-1].items()), flush=True
        )
    numbers = "".join(f" net {number} |" for number in range(given.nets))
    print(f"| |{numbers} mean |\n|---|{'---|' * (given.nets + 1)}")
    for name in rows[0]:
        points = [row[name] for row in rows]
        print(f"| {name} |" + "".join(f" {point:.2f} |" for point in [*points, float(np.mean(points))]))


if __name__ == "__main__":
    main()
