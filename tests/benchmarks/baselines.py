"""Nets that everybody knows, at the size of a task's pictures, to stand beside what a search finds.

Strided convolutions pad as TFLite's SAME does, so no PAD is exported and none of them is slower than it must be.
The nets of ImageNet reduce 224 pixels by 32; for pictures of some 30 pixels the first reduction after the stem is
left out, so that they are reduced by 16 and lose less.
"""

from collections.abc import Callable

import torch
from torch import nn

from hilnas.spaces.mbconv_module import MBConvNet
from hilnas.spaces.mbconv_plan import BlockPlan, NetPlan
from hilnas.tasks import Task

Size = tuple[int, int]


def mobilenet_v2(task: Task, width: float = 1.0) -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018, table 2), channels times `width`, never fewer than 8."""
    table = [  # expansion, channels, blocks, stride
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]
    blocks = [
        BlockPlan(
            f"{channels}.{number}",
            _even(channels * width),
            stride if number == 0 else 1,
            3,
            expansion,
            False,
            "relu6",
        )
        for expansion, channels, repeats, stride in table
        for number in range(repeats)
    ]
    stem = _even(32 * width)
    return MBConvNet(NetPlan(task.shape, task.classes, stem, 2, tuple(blocks), 1280, 0.1))


class MobileNetV3Small(nn.Module):
    """MobileNetV3-small (Howard et al. 2019, table 2)."""

    ROWS = (  # kernel, hidden channels, channels, squeeze-excite, activation, stride
        (3, 16, 16, True, nn.ReLU, 1),
        (3, 72, 24, False, nn.ReLU, 2),
        (3, 88, 24, False, nn.ReLU, 1),
        (5, 96, 40, True, nn.Hardswish, 2),
        (5, 240, 40, True, nn.Hardswish, 1),
        (5, 240, 40, True, nn.Hardswish, 1),
        (5, 120, 48, True, nn.Hardswish, 1),
        (5, 144, 48, True, nn.Hardswish, 1),
        (5, 288, 96, True, nn.Hardswish, 2),
        (5, 576, 96, True, nn.Hardswish, 1),
        (5, 576, 96, True, nn.Hardswish, 1),
    )

    def __init__(self, task: Task) -> None:
        super().__init__()
        channels, height, width = task.shape
        stem, size = convolution(channels, 16, (3, 3), (2, 2), (height, width), nn.Hardswish)
        layers: list[nn.Module] = [stem]
        channels = 16
        for kernel, hidden, out, squeezed, activation, stride in self.ROWS:
            block = _Bottleneck(channels, hidden, out, kernel, stride, size, activation, squeezed)
            layers.append(block)
            channels, size = out, block.size
        layers.append(convolution(channels, 576, (1, 1), (1, 1), size, nn.Hardswish)[0])
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Sequential(
            nn.Linear(576, 1024), nn.Hardswish(), nn.Dropout(0.1), nn.Linear(1024, task.classes)
        )
        _initialise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits [N, classes] of [N, C, H, W]."""
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits


class DsCnn(nn.Module):
    """DS-CNN for keyword spotting (Zhang et al. 2017, table 9): a convolution over 10 frames and 4 bands, then
    depthwise-separable ones. S has 64 channels and 4 of them; M has 172, and halves the picture once more."""

    def __init__(self, task: Task, channels: int = 64, blocks: int = 4, second_stride: int = 1) -> None:
        super().__init__()
        depth, height, width = task.shape
        first, size = convolution(depth, channels, (10, 4), (2, 2), (height, width), nn.ReLU)
        layers: list[nn.Module] = [first, nn.Dropout(0.1)]
        for number in range(blocks):
            stride = second_stride if number == 0 else 1
            depthwise, size = convolution(
                channels, channels, (3, 3), (stride, stride), size, nn.ReLU, depthwise=True
            )
            layers += [depthwise, convolution(channels, channels, (1, 1), (1, 1), size, nn.ReLU)[0]]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(channels, task.classes)]
        self.layers = nn.Sequential(*layers)
        _initialise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits [N, classes] of [N, C, H, W]."""
        logits: torch.Tensor = self.layers(images)
        return logits


def plain_cnn(task: Task) -> nn.Module:
    """Three 3x3 convolutions of 32, 64 and 128 channels with batch-norm, ReLU and pooling."""
    layers: list[nn.Module] = []
    channels = task.shape[0]
    for width in (32, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2) if width < 128 else nn.AdaptiveAvgPool2d(1)]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.1), nn.Linear(channels, task.classes))


BASELINES: dict[str, Callable[[Task], nn.Module]] = {
    "MobileNetV2": mobilenet_v2,
    "MobileNetV2 0.25": lambda task: mobilenet_v2(task, 0.25),
    "MobileNetV3-small": MobileNetV3Small,
    "DS-CNN-S": DsCnn,
    "DS-CNN-M": lambda task: DsCnn(task, 172, 4, 2),
    "plain CNN": plain_cnn,
}


class _Bottleneck(nn.Module):
    """Expand, depthwise, squeeze-excite, project; with a residual where the shapes agree."""

    def __init__(
        self, channels: int, hidden: int, out: int, kernel: int, stride: int, size: Size,
        activation: type[nn.Module], squeezed: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != channels:
            layers.append(convolution(channels, hidden, (1, 1), (1, 1), size, activation)[0])
        depthwise, self.size = convolution(
            hidden, hidden, (kernel, kernel), (stride, stride), size, activation, depthwise=True
        )
        layers.append(depthwise)
        if squeezed:
            layers.append(_SqueezeExcite(hidden))
        layers.append(convolution(hidden, out, (1, 1), (1, 1), self.size, None)[0])
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and channels == out

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layers(features)
        return features + output if self.residual else output


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _even(channels / 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1), nn.Hardsigmoid(),
        )  # fmt: skip

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        gates: torch.Tensor = self.gate(features)
        return features * gates


def convolution(
    channels: int, out: int, kernel: Size, stride: Size, size: Size,
    activation: type[nn.Module] | None, depthwise: bool = False,
) -> tuple[nn.Module, Size]:  # fmt: skip
    """Convolution with SAME padding, batch-norm, activation; and the size of its output."""
    output = tuple(-(-side // step) for side, step in zip(size, stride, strict=True))
    totals = [
        max(0, (after - 1) * step + side - before)
        for after, step, side, before in zip(output, stride, kernel, size, strict=True)
    ]
    (top, bottom), (left, right) = ((total // 2, total - total // 2) for total in totals)
    layers: list[nn.Module] = []
    padding = (top, left)
    beyond = depthwise and max(kernel) > min(size)  # see `mbconv_module`
    if beyond or (top, left) != (bottom, right):
        layers.append(nn.ZeroPad2d((left, right, top, bottom)))
        padding = (0, 0)
    groups = channels if depthwise else 1
    layers += [
        nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(out),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers), (output[0], output[1])


def _even(channels: float) -> int:
    """Return the nearest multiple of 8, never less than a tenth smaller (Sandler et al.'s reference code)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _initialise(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
