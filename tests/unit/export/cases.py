"""One case an operator: a small network and the shape of its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)


class Apply(nn.Module):
    """A function as a module, with the layers it uses."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.names = list(layers)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *(getattr(self, name) for name in self.names))


def _conv(i: int, o: int, k: Any, **options: Any) -> nn.Module:
    return nn.Conv2d(i, o, k, **options)


def _bn(channels: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels).eval()
    layer.running_mean.copy_(torch.linspace(-1, 1, channels))
    layer.running_var.copy_(torch.linspace(0.5, 2, channels))
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-1.5, 1, channels))
        layer.bias.copy_(torch.linspace(-1, 0.5, channels))
    return layer


Case = tuple[Callable[[], nn.Module], tuple[int, ...]]
CASES: dict[str, Case] = {}
for _k in (1, 3, 5, 7):
    for _s in (1, 2):
        for _size in ((12, 12), (13, 9)):
            CASES[f"conv-k{_k}-s{_s}-{_size}"] = (
                lambda k=_k, s=_s: _conv(3, 8, k, stride=s, padding=k // 2),
                (3, *_size),
            )
            CASES[f"depthwise-k{_k}-s{_s}-{_size}"] = (
                lambda k=_k, s=_s: _conv(6, 6, k, stride=s, padding=k // 2, groups=6),
                (6, *_size),
            )
for _s in (1, 2):
    for _k in (2, 3):
        for _size in ((12, 12), (13, 9)):
            CASES[f"maxpool-k{_k}-s{_s}-{_size}"] = (lambda k=_k, s=_s: nn.MaxPool2d(k, s), (5, *_size))
            CASES[f"maxpool-padded-k{_k}-s{_s}-{_size}"] = (
                lambda k=_k, s=_s: nn.MaxPool2d(k, s, 1),
                (5, *_size),
            )
            for _count in (True, False):
                CASES[f"avgpool-k{_k}-s{_s}-{_size}-{_count}"] = (
                    lambda k=_k, s=_s, c=_count: nn.AvgPool2d(k, s, 1, count_include_pad=c),
                    (5, *_size),
                )

CASES |= {
    "conv-gray": (lambda: _conv(1, 8, 3, padding=1), (1, 11, 11)),
    "conv-no-bias": (lambda: _conv(3, 8, 3, bias=False), (3, 10, 10)),
    "conv-kernel-1x7": (lambda: _conv(3, 8, (1, 7), padding=(0, 3)), (3, 10, 12)),
    "conv-kernel-5x2-stride-2x1": (lambda: _conv(3, 8, (5, 2), stride=(2, 1), padding=(2, 1)), (3, 11, 8)),
    "conv-dilation": (lambda: _conv(3, 8, 3, padding=2, dilation=2), (3, 12, 12)),
    "conv-dilation-valid": (lambda: _conv(3, 8, 3, dilation=(2, 1)), (3, 12, 12)),
    "depthwise-dilation": (lambda: _conv(4, 4, 3, padding=2, dilation=2, groups=4), (4, 12, 12)),
    "conv-same": (lambda: _conv(3, 8, 4, padding="same"), (3, 10, 10)),
    "conv-wide-padding": (lambda: _conv(3, 8, 3, padding=3), (3, 9, 9)),
    "depthwise-multiplier": (lambda: _conv(4, 12, 3, padding=1, groups=4), (4, 10, 10)),
    "log-mel": (lambda: _conv(1, 16, (10, 4), stride=(2, 2), padding=(5, 1)), (1, 49, 40)),
    "conv-bn": (lambda: nn.Sequential(_conv(3, 8, 3, bias=False), _bn(8)), (3, 10, 10)),
    "conv-bn-relu": (lambda: nn.Sequential(_conv(3, 8, 3), _bn(8), nn.ReLU()), (3, 10, 10)),
    "bn-alone": (lambda: _bn(6), (6, 7, 7)),
    "bn-relu-conv": (lambda: nn.Sequential(_bn(6), nn.ReLU(), _conv(6, 4, 1)), (6, 7, 7)),
    "bn1d-alone": (lambda: nn.BatchNorm1d(12), (12,)),
    "linear-bn1d": (lambda: nn.Sequential(nn.Linear(12, 9), nn.BatchNorm1d(9), nn.ReLU()), (12,)),
    "linear": (lambda: nn.Linear(20, 7), (20,)),
    "linear-relu-linear": (lambda: nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 5)), (20,)),
    "relu": (nn.ReLU, (4, 6, 6)),
    "relu6": (lambda: Apply(lambda x: F.relu6(4 * x)), (4, 6, 6)),
    "conv-relu6": (lambda: nn.Sequential(_conv(3, 8, 3), nn.ReLU6()), (3, 8, 8)),
    "hardswish": (nn.Hardswish, (4, 6, 6)),
    "hardswish-of-conv": (lambda: nn.Sequential(_conv(3, 8, 3), nn.Hardswish(), _conv(8, 4, 1)), (3, 8, 8)),
    "hardsigmoid": (nn.Hardsigmoid, (4, 6, 6)),
    "hardsigmoid-of-conv": (lambda: nn.Sequential(_conv(3, 8, 3), nn.Hardsigmoid()), (3, 8, 8)),
    "hardswish-by-hand": (
        lambda: Apply(lambda x, c: (y := c(x)) * F.relu6(y + 3) / 6, c=_conv(3, 8, 1)),
        (3, 8, 8),
    ),
    "sigmoid": (nn.Sigmoid, (4, 6, 6)),
    "silu": (nn.SiLU, (4, 6, 6)),
    "hardtanh": (nn.Hardtanh, (4, 6, 6)),
    "hardtanh-of-conv": (lambda: nn.Sequential(_conv(3, 8, 1), nn.Hardtanh(0, 6)), (3, 6, 6)),
    "clamp": (lambda: Apply(lambda x: x.clamp(-1, 2)), (4, 6, 6)),
    "identity-dropout": (lambda: nn.Sequential(nn.Identity(), nn.Dropout(0.5), _conv(3, 4, 1)), (3, 5, 5)),
    "global-pool": (lambda: nn.AdaptiveAvgPool2d(1), (6, 9, 7)),
    "adaptive-pool-to-3": (lambda: nn.AdaptiveAvgPool2d(3), (6, 9, 6)),
    "avgpool-large": (lambda: nn.AvgPool2d(7, 1), (6, 9, 9)),
    "avgpool-whole": (lambda: nn.AvgPool2d(7), (6, 7, 7)),
    "avgpool-ceil": (lambda: nn.AvgPool2d(3, 2, ceil_mode=True), (6, 8, 8)),
    "avgpool-divisor": (lambda: nn.AvgPool2d(2, divisor_override=3), (6, 8, 8)),
    "maxpool-even-kernel": (lambda: nn.MaxPool2d((1, 4), 1, (0, 1)), (4, 6, 6)),
    "maxpool-even-kernel-strided": (lambda: nn.MaxPool2d(4, 2, 1), (4, 7, 7)),
    "maxpool-ceil": (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), (6, 8, 8)),
    "maxpool-positive": (lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, 1)), (6, 8, 8)),
    "maxpool-k1-s2": (lambda: nn.MaxPool2d(1, 2), (6, 9, 8)),
    "zeropad-alone": (lambda: nn.ZeroPad2d((1, 2, 0, 3)), (3, 6, 6)),
    "zeropad-is-same": (
        lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), _conv(3, 8, 3, stride=2)),
        (3, 12, 12),
    ),
    "zeropad-other": (
        lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), _conv(3, 8, 3, stride=2)),
        (3, 12, 12),
    ),
    "zeropad-twice": (
        lambda: nn.Sequential(nn.ZeroPad2d(1), nn.ZeroPad2d((0, 1, 0, 1)), _conv(3, 8, 3, padding=1)),
        (3, 9, 9),
    ),
    "zeropad-maxpool": (lambda: nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(2)), (3, 8, 8)),
    "channel-pad": (lambda: Apply(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 1))), (3, 9, 8)),
    "flatten-linear": (
        lambda: nn.Sequential(_conv(2, 3, 3), nn.Flatten(), nn.Linear(3 * 6 * 4, 5)),
        (2, 8, 6),
    ),
    "flatten-bn-linear": (
        lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 5)),
        (2, 4, 3),
    ),
    "flatten-output": (nn.Flatten, (3, 4, 5)),
    "flatten-hardswish-linear": (
        lambda: nn.Sequential(nn.Hardswish(), nn.Flatten(), nn.Linear(24, 5)),
        (2, 4, 3),
    ),
    "reshape": (lambda: Apply(lambda x, f: f(x.reshape(-1, 24)), f=nn.Linear(24, 4)), (2, 3, 4)),
    "vector-to-image": (lambda: Apply(lambda x, c: c(x.view(-1, 1, 6, 4)), c=_conv(1, 4, 3)), (24,)),
    "squeeze-twice": (
        lambda: Apply(lambda x, f: f(F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1)), f=nn.Linear(5, 4)),
        (5, 4, 4),
    ),
    "add": (
        lambda: Apply(lambda x, a, b: a(x) + b(x), a=_conv(3, 6, 1), b=_conv(3, 6, 3, padding=1)),
        (3, 8, 8),
    ),
    "add-relu": (lambda: Apply(lambda x, a: F.relu(a(x) + x), a=_conv(3, 3, 1)), (3, 8, 8)),
    "add-itself": (lambda: Apply(lambda x, a: torch.add((y := a(x)), y), a=_conv(3, 3, 1)), (3, 8, 8)),
    "add-hardswish-and-conv": (
        lambda: Apply(lambda x, a, b: (y := F.hardswish(a(x))) + b(y), a=_conv(3, 6, 1), b=_conv(6, 6, 1)),
        (3, 8, 8),
    ),
    "add-hardswish-and-input": (lambda: Apply(lambda x: F.hardswish(x) + x), (3, 8, 8)),
    "mul": (lambda: Apply(lambda x, a: a(x) * x, a=_conv(3, 3, 1)), (3, 8, 8)),
    "squeeze-excite": (
        lambda: Apply(lambda x, a: x * F.hardsigmoid(a(x.mean((2, 3), keepdim=True))), a=_conv(4, 4, 1)),
        (4, 8, 8),
    ),
    "squeeze-excite-linear": (
        lambda: Apply(
            lambda x, f: x * torch.sigmoid(f(x.mean((2, 3)))).view(x.shape[0], -1, 1, 1), f=nn.Linear(4, 4)
        ),
        (4, 8, 8),
    ),
    "gate-by-none": (
        lambda: Apply(lambda x, f: f(x.mean([2, 3])).sigmoid()[:, :, None, None] * x, f=nn.Linear(4, 4)),
        (4, 8, 8),
    ),
    "cat": (
        lambda: Apply(lambda x, a, b: torch.cat([a(x), b(x), x], 1), a=_conv(3, 4, 1), b=_conv(3, 2, 1)),
        (3, 8, 8),
    ),
    "cat-seven": (
        lambda: Apply(lambda x, a: torch.cat([a(x)] * 3 + [x] * 4, dim=1), a=_conv(3, 4, 1)),
        (3, 6, 6),
    ),
    "cat-sigmoid": (lambda: Apply(lambda x: torch.cat((torch.sigmoid(x), 3 * x), dim=1)), (3, 6, 6)),
    "cat-relu": (
        lambda: Apply(lambda x, a: torch.cat((F.relu(x[:, 1:]), a(x)), 1), a=_conv(3, 4, 1)),
        (3, 6, 6),
    ),
    "cat-vectors": (
        lambda: Apply(
            lambda x, f: f(torch.cat([x.flatten(1), x[:, :, :1].flatten(1)], 1)), f=nn.Linear(32, 4)
        ),
        (2, 3, 4),
    ),
    "cat-gains": (
        lambda: Apply(lambda x, a: torch.cat([F.hardswish(x), a(x)], 1), a=_conv(3, 4, 1)),
        (3, 6, 6),
    ),
    "cat-height": (lambda: Apply(lambda x: torch.cat([x, x[:, :, 2:4]], 2)), (3, 6, 5)),
    "slice": (lambda: Apply(lambda x: x[:, 1:3, 2:, :-1]), (4, 6, 6)),
    "slice-strided": (lambda: Apply(lambda x: x[..., 1::2, ::3]), (4, 7, 8)),
    "chunk": (lambda: Apply(lambda x: (y := x.chunk(2, 1))[0] * y[1]), (4, 6, 6)),
    "split": (lambda: Apply(lambda x: x.split([1, 3], dim=1)[1]), (4, 6, 6)),
    "scale-shift": (lambda: Apply(lambda x, c: c(x * 2 - 1), c=_conv(3, 4, 1)), (3, 6, 6)),
    "rescale-result": (lambda: Apply(lambda x, c: 1 - c(x) / 4, c=_conv(3, 4, 1)), (3, 6, 6)),
    "add-number": (lambda: Apply(lambda x: x + 1.5), (3, 6, 6)),
    "relu-with-two-readers": (
        lambda: Apply(lambda x, c: (y := c(x)) + F.relu(y), c=_conv(3, 4, 1)),
        (3, 6, 6),
    ),
    "f-pools": (lambda: Apply(lambda x: F.max_pool2d(F.avg_pool2d(x, 2), 2)), (3, 8, 8)),
    "f-conv-linear": (
        lambda: Apply(
            lambda x, c, f: F.linear(
                F.conv2d(x, c.weight[:5], c.bias[:5], padding=1).mean((2, 3)), f.weight[:, :5]
            ),
            c=_conv(3, 8, 3),
            f=nn.Linear(8, 4),
        ),
        (3, 6, 6),
    ),
    "one-pixel": (
        lambda: nn.Sequential(_conv(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        (3, 1, 1),
    ),
    "relu-in-place-read-later": (
        lambda: Apply(lambda x, c, r: r(y := c(x)) * 0.5 + y, c=_conv(3, 4, 1), r=nn.ReLU(inplace=True)),
        (3, 6, 6),
    ),
    "add-in-place-read-later": (
        lambda: Apply(lambda x, c: ((y := c(x)).add_(x), y + c(y))[1], c=_conv(3, 3, 1)),
        (3, 6, 6),
    ),
    "sizes-asked-for": (
        lambda: Apply(
            lambda x, c: F.relu(y := c(x)).reshape(y.size(0), y.shape[1] * y.size(dim=2) * y.size()[3]),
            c=_conv(3, 4, 1),
        ),
        (3, 6, 6),
    ),
    "flatten-hardswish-output": (lambda: nn.Sequential(nn.Hardswish(), nn.Flatten()), (3, 4, 5)),
    "relu-on-input-and-conv": (lambda: Apply(lambda x, c: c(F.relu(x)) + x, c=_conv(3, 3, 1)), (3, 6, 6)),
    "identity": (nn.Identity, (3, 4, 4)),
}
