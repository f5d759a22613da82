"""Small networks of the families that searches sample, and a way to make their statistics real."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def settled(net: nn.Module, images: Tensor) -> nn.Module:
    """`net` in evaluation mode with batch-norm statistics of `images` and affine parameters of their own."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None
            with torch.no_grad():
                module.weight.copy_(0.5 + torch.rand(module.num_features, generator=generator))
                module.bias.copy_(0.2 * torch.randn(module.num_features, generator=generator))
    with torch.no_grad():
        net.train()(images)
    return net.eval()


def conv_bn(
    i: int, o: int, k: int = 3, s: int = 1, *, groups: int = 1, act: type[nn.Module] | None = nn.ReLU6
) -> nn.Sequential:
    """Convolution, batch normalization and activation."""
    layers: list[nn.Module] = [nn.Conv2d(i, o, k, s, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([act()] if act else []))


class SqueezeExcite(nn.Module):
    """A gate per channel from the global mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 4, 4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.down = nn.Conv2d(channels, hidden, 1)
        self.relu = nn.ReLU()
        self.up = nn.Conv2d(hidden, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.up(self.relu(self.down(self.pool(x)))))


class Inverted(nn.Module):
    """An inverted residual: expand, depthwise, (squeeze and excite,) project."""

    def __init__(
        self, i: int, o: int, expand: int, k: int, s: int, *, act: type[nn.Module], se: bool
    ) -> None:
        super().__init__()
        h = i * expand
        layers: list[nn.Module] = [] if expand == 1 else [conv_bn(i, h, 1, act=act)]
        layers.append(conv_bn(h, h, k, s, groups=h, act=act))
        if se:
            layers.append(SqueezeExcite(h))
        layers.append(conv_bn(h, o, 1, act=None))
        self.body = nn.Sequential(*layers)
        self.residual = s == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """MobileNetV2-like."""

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        rows = [(8, 8, 1, 3, 1), (8, 12, 4, 3, 2), (12, 12, 4, 3, 1), (12, 24, 4, 5, 2), (24, 24, 4, 3, 1)]
        blocks = [Inverted(i, o, e, k, s, act=nn.ReLU6, se=False) for i, o, e, k, s in rows]
        self.features = nn.Sequential(conv_bn(channels, 8, 3, 2), *blocks, conv_bn(24, 64, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class MobileNetV3(nn.Module):
    """MobileNetV3-small-like: squeeze-and-excitation and hard-swish."""

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_bn(channels, 8, 3, 2, act=nn.Hardswish),
            Inverted(8, 8, 1, 3, 1, act=nn.ReLU, se=True),
            Inverted(8, 12, 4, 3, 2, act=nn.Hardswish, se=False),
            Inverted(12, 12, 4, 5, 1, act=nn.Hardswish, se=True),
            Inverted(12, 24, 4, 5, 2, act=nn.Hardswish, se=True),
            conv_bn(24, 64, 1, act=nn.Hardswish),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Sequential(
            nn.Linear(64, 48), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(48, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class PlainCnn(nn.Module):
    """Convolutions, max-pooling, and linear layers on a flattened image that is not 1 x 1."""

    def __init__(self, channels: int = 3, size: tuple[int, int] = (16, 16), classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.fc1 = nn.Linear(16 * (size[0] // 4) * (size[1] // 4), 24)
        self.fc2 = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = x.view(x.size(0), -1)
        return self.fc2(torch.relu(self.fc1(x)))


class Cells(nn.Module):
    """Branches that are concatenated and pooled, and a slice as in factorized reduction."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, 3)
        self.left = conv_bn(8, 8, 1, 2, act=nn.ReLU)
        self.right = conv_bn(8, 8, 1, 2, act=None)
        self.max = nn.MaxPool2d(3, 2, 1)
        self.mean = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.out = nn.Sequential(nn.ReLU(), nn.Conv2d(32, 16, 1), nn.BatchNorm2d(16))
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        shifted = self.right(nn.functional.pad(x[:, :, 1:, 1:], (0, 1, 0, 1)))
        x = torch.cat([self.left(x), shifted, self.max(shifted_like(x)), self.mean(x)], 1)
        return self.head(self.out(x).mean((2, 3)))


def shifted_like(x: Tensor) -> Tensor:
    """x with negative numbers, so that padding with zero would win a maximum."""
    return x - 4.0
