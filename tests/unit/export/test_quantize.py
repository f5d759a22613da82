"""Quantization parameters: who shares them, and numbers that nearly leave int32 or the multipliers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hilnas.export import Int8Model, agreement, check_int8, export_int8
from hilnas.export.calibrate import ranges
from hilnas.export.emitter import QParams
from hilnas.export.lower import lower
from hilnas.export.ops_layout import Concat, Pad, Reshape, Slice
from hilnas.export.ops_pool import MaxPool
from hilnas.export.quantize import quantization, share
from tests.unit.export.cases import Apply

IMAGES = torch.randn(16, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_parameters_hold_zero_exactly_and_span_the_range() -> None:
    for low, high in [(-1.0, 3.0), (0.0, 6.0), (-5.0, 0.0), (2.0, 4.0), (-0.001, 1000.0)]:
        params = QParams.spanning(low, high)
        assert -128 <= params.zero_point <= 127
        assert params.scale * (127 - params.zero_point) == pytest.approx(max(high, 0), abs=params.scale)
        assert params.scale * (-128 - params.zero_point) == pytest.approx(min(low, 0), abs=params.scale)
    assert QParams.spanning(0.0, 0.0).scale > 0


def test_operators_that_move_bytes_share_parameters_and_others_do_not() -> None:
    def forward(x: Tensor, conv: nn.Module) -> Tensor:
        y = functional.max_pool2d(torch.cat([conv(x), x[:, :2]], 1), 2)
        return functional.pad(y, (1, 1)).flatten(1)

    graph, groups = share(lower(Apply(forward, conv=nn.Conv2d(4, 4, 1)), (1, 4, 8, 8)))
    params = quantization(graph, groups, ranges(graph, IMAGES))
    moved = [op for op in graph.ops if op.shares_quantization]
    assert {Concat, MaxPool, Pad, Slice} <= {type(op) for op in moved}
    for op in moved:
        assert all(params[value] == params[op.output] for value in op.inputs), op.name
    assert len({params[value] for value in (graph.input, graph.output)}) == 1

    apart, groups = share(lower(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)), (1, 4, 8, 8)))
    assert len(set(quantization(apart, groups, ranges(apart, IMAGES)).values())) == 3
    assert not any(isinstance(op, Reshape) for op in apart.ops)


def test_prescribed_range_survives_a_concatenation() -> None:
    net = Apply(lambda x, conv: torch.cat([x, torch.sigmoid(x), 9 * conv(x)], 1), conv=nn.Conv2d(4, 4, 1))
    model = export_int8(net, IMAGES, input_range=(-4.0, 4.0))
    scale, _ = Int8Model(model)._interpreter.get_input_details()[0]["quantization"]
    assert scale == pytest.approx(8 / 255)
    assert check_int8(model).ops.count("QUANTIZE") == 2


def test_relu_that_shares_a_wider_range_still_clamps() -> None:
    net = Apply(lambda x: torch.cat([functional.relu6(3 * x), x - 5], 1).flatten(1))
    logits = Int8Model(export_int8(net, IMAGES)).predict(IMAGES.numpy())
    assert logits[:, : 4 * 64].min() >= 0
    assert logits[:, 4 * 64 :].min() < -5


def test_values_below_minus_three_do_not_cost_a_hardswish_its_resolution() -> None:
    graph = lower(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Hardswish()), (1, 4, 8, 8))
    conv = graph.ops[0]
    assert ranges(graph, 100 * IMAGES)[conv.output][0] == -3.0


@pytest.mark.parametrize("runtime", ["ai-edge-litert", "tflite-runtime"])
def test_tiny_weights_with_large_biases_do_not_overflow(runtime: str) -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 1), nn.Flatten())
    with torch.no_grad():
        net[0].weight[:4] *= 1e-12
        net[0].bias[:4] = 3.0
        net[0].weight[4] = 0.0
        net[2].bias[0] = -20.0
    assert agreement(net, export_int8(net, IMAGES), IMAGES, runtime).relative_rmse < 0.02


@pytest.mark.parametrize("runtime", ["ai-edge-litert", "tflite-runtime"])
@pytest.mark.parametrize("factor", [0.0, 1e-12, 1e-5, 1e5])
def test_dead_and_extreme_layers_still_load_as_one_partition(runtime: str, factor: float) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(4, 4, 3, padding=1)
            self.b = nn.Conv2d(4, 4, 1)
            self.c = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = functional.hardswish(self.a(x)) + x
            z = torch.cat(
                [torch.relu(self.b(y)), y * functional.hardsigmoid(self.c(y.mean((2, 3), keepdim=True)))], 1
            )
            return functional.avg_pool2d(z, 2).flatten(1)

    for layer in "abc":
        torch.manual_seed(0)
        net = Net()
        with torch.no_grad():
            getattr(net, layer).weight.mul_(factor)
            getattr(net, layer).bias.mul_(factor)
        model = export_int8(net, IMAGES)
        if factor < 1:  # beside numbers in the millions eight bits cannot hold the input too
            assert agreement(net, model, IMAGES, runtime).relative_rmse < 0.03, layer
        if runtime == "ai-edge-litert":
            assert Int8Model(model).delegate_partitions == 1


def test_calibration_in_chunks_sees_every_image() -> None:
    images = torch.zeros(70, 4, 8, 8)
    images[66] = 5.0
    scale, _ = Int8Model(export_int8(nn.MaxPool2d(2), images))._interpreter.get_input_details()[0][
        "quantization"
    ]
    assert scale == pytest.approx(5 / 255)


def test_weights_are_quantized_per_channel() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 6))
    with torch.no_grad():
        net[0].weight.mul_(torch.logspace(-3, 0, 8)[:, None, None, None])
        net[2].weight.mul_(torch.logspace(-3, 0, 6)[:, None])
    model = Int8Model(export_int8(net, IMAGES))
    details = model._interpreter.get_tensor_details()
    weights = [d for d in details if d["name"].endswith("/weight")]
    assert sorted(len(d["quantization_parameters"]["scales"]) for d in weights) == [6, 8]
    exact = net(IMAGES).detach().numpy()
    error = np.abs(model.predict(IMAGES.numpy()) - exact).max(axis=0)
    assert (error < 0.05 * np.abs(exact).max()).all()
