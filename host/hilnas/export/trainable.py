"""Quantization-aware training: the graph that is exported, as a torch module that computes what the file will.

Works on the graph and not on the user's classes, so any network that can be exported can be fine-tuned.
Batch normalization is folded by its running statistics before (Jacob et al. 2018, arXiv:1712.05877, section
3.2, in the form that freezes them), convolutions and linear layers train the folded weights, and every tensor
of the file is rounded where the file rounds it. Dropout is gone, as in the file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hilnas.export.emitter import QParams, emit
from hilnas.export.errors import ExportError
from hilnas.export.exporter import quantized_graph
from hilnas.export.ir import Value
from hilnas.export.ops_matmul import Conv, Linear, rounded
from hilnas.export.options import QuantizationOptions
from hilnas.export.quantize import QuantizedGraph, widen
from hilnas.export.rounding import fake_quantize

_MOST = 10.0
"""Logarithm of the most that a step size may change by."""


def trainable_int8(
    module: nn.Module,
    calibration: Tensor,
    *,
    input_range: tuple[float, float] | None = None,
    options: QuantizationOptions | None = None,
) -> TrainableInt8:
    """`module` as a network that trains as its int8 file will compute; it begins with the ranges of `options`.

    Arguments and errors are those of `export_int8`. The module itself is not changed, and its weights are
    not those that are trained.
    """
    return TrainableInt8(quantized_graph(module, calibration, input_range, options))


class TrainableInt8(nn.Module):
    """float32 [N, C, H, W] or [N, F] to the outputs of the int8 file, in the module's own units.

    Trained with Adam (`tasks.training.train` does). Parameters are in units of their own size, so that one learning rate fits all: weights of their
    channel's largest, biases of half their output's range; step sizes are learned as logarithms (Jain et al.
    2020, arXiv:1903.08066) by the gradient of Esser et al. 2020 (arXiv:1902.08153). Zero points stay, and so
    do prescribed ranges. Moving averages of extremes in their place are as good on sound nets, but forget a clipped
    range that the training began with (figures: tests/benchmarks/README.md, "Ways to int8"). Weight decay has no meaning in these units: train without.
    """

    _initial: Tensor
    _free: Tensor

    def __init__(self, quantized: QuantizedGraph) -> None:
        super().__init__()
        self._quantized = quantized
        params, groups = quantized.params, quantized.groups
        self._layers = {
            op: _Layer(op, params[op.output].scale)
            for op in quantized.graph.ops
            if isinstance(op, Conv | Linear) and op.learned
        }
        self.layers = nn.ModuleList(self._layers.values())
        places: dict[Value, int] = {}
        self._place = {value: places.setdefault(groups.find(value), len(places)) for value in params}
        self.register_buffer("_initial", torch.tensor([params[root].scale for root in places]))
        free = [float(groups.fixed(root) is None) for root in places]
        self.register_buffer("_free", torch.tensor(free))
        self.log_steps = nn.Parameter(torch.zeros(len(places)))
        """Logarithm of each step size over the one that it began with."""

    def forward(self, x: Tensor) -> Tensor:
        """The outputs that the int8 file gives, up to a step here and there."""
        graph, steps = self._quantized.graph, self._steps()
        sizes = steps.tolist()
        values = {graph.input: self._stored(graph.input, x, steps)}
        for op in graph.ops:
            inputs = [values[value] for value in op.inputs]
            source, result = (sizes[self._place[value]] for value in (op.inputs[0], op.output))
            layer = self._layers.get(op) if isinstance(op, Conv | Linear) else None
            computed = (
                op.simulate(inputs, source, result) if layer is None else layer(inputs[0], source, result)
            )
            if not op.shares_quantization:
                computed = self._stored(op.output, computed, steps)
            values[op.output] = computed
        return values[graph.output]

    def to_int8(self, description: str = "") -> bytes:
        """The .tflite file of the network as it is now, by the exporter's own writer.

        Raises ExportError, naming the layer, when training left NaN or infinity in it.
        """
        graph, groups = self._quantized.graph, self._quantized.groups
        for op, layer in self._layers.items():
            weight, bias = layer.parameters_now()
            if not (weight.isfinite().all() and bias.isfinite().all() and self.log_steps.isfinite().all()):
                raise ExportError(
                    f"training left NaN or infinity in layer '{op.name}'; train again, with a lower learning rate"
                )
            op.weight, op.bias = weight.detach().double().numpy(), bias.detach().double().numpy()
        params = self._params()
        widen(graph, groups, params)
        return emit(graph, {value: params[groups.find(value)] for value in self._place}, description)

    def _params(self) -> dict[Value, QParams]:
        """Scale and zero point of each group, under its root."""
        find, known, sizes = self._quantized.groups.find, self._quantized.params, self._steps().tolist()
        return {find(value): QParams(sizes[at], known[value].zero_point) for value, at in self._place.items()}

    def _steps(self) -> Tensor:
        """The step size of each group, float32."""
        # Within float32 and what multipliers can express, whatever becomes of the training.
        steps: Tensor = self._initial * (self.log_steps * self._free).clamp(-_MOST, _MOST).exp()
        return steps

    def _stored(self, value: Value, tensor: Tensor, steps: Tensor) -> Tensor:
        """What `tensor` is once it is stored as `value`."""
        return fake_quantize(tensor, steps[self._place[value]], self._quantized.params[value].zero_point)


class _Layer(nn.Module):
    """A convolution or linear layer with folded weights that are learned."""

    _weight_unit: Tensor

    def __init__(self, op: Conv | Linear, output_step: float) -> None:
        super().__init__()
        self._op = op
        weight, bias = op.parameters()
        largest = weight.abs().reshape(len(weight), -1).amax(1).clamp(min=1e-12)
        self.register_buffer("_weight_unit", largest.reshape(-1, *[1] * (weight.ndim - 1)))
        self._bias_unit = 128 * output_step
        self.weight = nn.Parameter(weight / self._weight_unit)
        self.bias = nn.Parameter(bias / self._bias_unit)

    def forward(self, x: Tensor, source: float, result: float) -> Tensor:
        """The layer with weights as they are stored, for step sizes of its input and output."""
        weight, bias = rounded(*self.parameters_now(), source, result)
        return self._op.activation.apply(self._op.compute(x, weight, bias))

    def parameters_now(self) -> tuple[Tensor, Tensor]:
        """Weight and bias in the graph's units."""
        return self.weight * self._weight_unit, self.bias * self._bias_unit
