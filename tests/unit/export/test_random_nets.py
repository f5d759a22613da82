"""Random windows and random small networks: the graph is exact and the file is sound, whatever the mix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from hilnas.export import Int8Model, agreement, check_int8, export_int8
from hilnas.export.calibrate import run
from hilnas.export.lower import lower
from tests.unit.export.nets import SqueezeExcite, conv_bn, settled

MODEST = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


class Residual(nn.Module):
    """x + body(x), or both side by side."""

    def __init__(self, body: nn.Module, joined: bool) -> None:
        super().__init__()
        self.body = body
        self.joined = joined

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return torch.cat([x, y], 1) if self.joined else x + y


class FactorizedReduction(nn.Module):
    """Two halves of the pixels, side by side (as in DARTS)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.halves = nn.ModuleList(nn.Conv2d(channels, channels, 1, 2, bias=False) for _ in range(2))
        self.norm = nn.BatchNorm2d(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(functional.relu(x), (0, 1, 0, 1))
        shifted = x[:, :, 1:, 1:]
        return self.norm(torch.cat([self.halves[0](x[:, :, :-1, :-1]), self.halves[1](shifted)], 1))


BLOCKS: dict[str, Callable[[int], tuple[nn.Module, int]]] = {
    "conv": lambda c: (conv_bn(c, 6, 3, act=nn.ReLU), 6),
    "strided": lambda c: (conv_bn(c, 8, 5, 2, act=nn.Hardswish), 8),
    "depthwise": lambda c: (conv_bn(c, c, 3, groups=c, act=nn.SiLU), c),
    "linear bottleneck": lambda c: (conv_bn(c, 4, 1, act=None), 4),
    "pre-activation": lambda c: (nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 5, 1)), 5),
    "residual": lambda c: (Residual(conv_bn(c, c, 3, act=None), joined=False), c),
    "hard residual": lambda c: (Residual(conv_bn(c, c, 1, act=nn.Hardswish), joined=False), c),
    "dense": lambda c: (Residual(conv_bn(c, 3, 3), joined=True), c + 3),
    "squeeze-excite": lambda c: (SqueezeExcite(c), c),
    "reduction": lambda c: (FactorizedReduction(c), 2 * c),
    "max": lambda c: (nn.MaxPool2d(3, 1, 1), c),
    "max strided": lambda c: (nn.MaxPool2d(3, 2, 1), c),
    "mean": lambda c: (nn.AvgPool2d(3, 2, 1, count_include_pad=False), c),
    "hardswish": lambda c: (nn.Hardswish(), c),
    "hardsigmoid": lambda c: (nn.Hardsigmoid(), c),
    "relu6": lambda c: (nn.ReLU6(inplace=True), c),
    "dropout": lambda c: (nn.Dropout(0.3), c),
}


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(draw(st.integers(0, 1000)))
    layers, channels = [], 3
    for name in draw(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=6)):
        layer, channels = BLOCKS[name](channels)
        layers.append(layer)
    shape = (3, draw(st.integers(7, 17)), draw(st.integers(7, 17)))
    images = torch.randn(12, *shape)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if draw(st.booleans()) else [nn.Flatten()]
    with torch.no_grad():
        features = nn.Sequential(*layers, *head)(images).shape[1]
    return settled(nn.Sequential(*layers, *head, nn.Linear(features, 5)), images), images


@MODEST
@given(networks())
def test_random_network_is_exact_as_a_graph_and_sound_as_a_file(case: tuple[nn.Module, Tensor]) -> None:
    net, images = case
    graph = lower(net, (1, *images.shape[1:]))
    with torch.no_grad():
        torch.testing.assert_close(run(graph, images), net(images.clone()), rtol=1e-3, atol=1e-3)
    model = export_int8(net, images)
    assert check_int8(model).output_shape == (1, 5)
    assert Int8Model(model).delegate_partitions == 1
    assert agreement(net, model, images).relative_rmse < 0.2


@settings(MODEST, max_examples=150)
@given(
    size=st.tuples(st.integers(5, 14), st.integers(5, 14)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 2)]),
    before=st.tuples(*[st.integers(0, 2)] * 4),
    kind=st.sampled_from(["conv", "depthwise", "max", "mean"]),
)
def test_any_window_lies_where_torch_has_it(
    size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, before: Any, kind: str
) -> None:
    torch.manual_seed(0)
    images = torch.randn(8, 4, *size)
    if kind in ("max", "mean"):
        padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
        layer: nn.Module = nn.MaxPool2d(kernel, stride, padding)
        if kind == "mean":
            layer = nn.AvgPool2d(kernel, stride, padding, count_include_pad=bool(before[0]))
    else:
        layer = nn.Conv2d(4, 4, kernel, stride, padding, dilation, groups=4 if kind == "depthwise" else 1)
    net = nn.Sequential(nn.ZeroPad2d(before), layer, nn.Flatten())
    try:
        net(images)
    except RuntimeError:
        assume(False)
    model = export_int8(net, images)
    for runtime in ("ai-edge-litert", "tflite-runtime"):
        assert agreement(net, model, images, runtime).relative_rmse < 0.04
