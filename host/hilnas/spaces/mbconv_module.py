"""The torch modules of mbconv nets. Strided convolutions pad as TFLite's SAME does, so no PAD is exported.

Layers have names, not numbers: a tensor of two nets has one name, also where one of them leaves layers out.
"""

from collections import OrderedDict

import torch
from torch import nn

from hilnas.spaces.mbconv_plan import BlockPlan, NetPlan, squeezed_channels

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu6": nn.ReLU6, "hswish": nn.Hardswish}


class MBConvNet(nn.Module):
    """float32 [N, C, H, W] to logits [N, classes]."""

    def __init__(self, plan: NetPlan) -> None:
        super().__init__()
        channels, height, width = plan.input
        size = (height, width)
        self.stem, size = _conv(channels, plan.stem_width, 3, plan.stem_stride, plan.first_activation, size)
        channels = plan.stem_width
        blocks: list[nn.Module] = []
        for block in plan.blocks:
            module = InvertedBottleneck(channels, block, size)
            blocks.append(module)
            channels, size = block.width, module.output_size
        self.blocks = nn.Sequential(*blocks)
        self.head, _ = _conv(channels, plan.head_width, 1, 1, plan.last_activation, size)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(plan.dropout)
        self.classifier = nn.Linear(plan.head_width, plan.classes)
        _initialise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        features = self.head(self.blocks(self.stem(images)))
        logits: torch.Tensor = self.classifier(self.dropout(self.flatten(self.pool(features))))
        return logits


class InvertedBottleneck(nn.Module):
    """Expand, depthwise, squeeze-excite, project; with a residual where the shapes agree."""

    def __init__(self, channels: int, plan: BlockPlan, size: tuple[int, int]) -> None:
        super().__init__()
        hidden = channels * plan.expansion
        layers: dict[str, nn.Module] = {}
        if plan.expansion != 1:
            layers["expand"], _ = _conv(channels, hidden, 1, 1, plan.activation, size)
        layers["depthwise"], self.output_size = _conv(
            hidden, hidden, plan.kernel, plan.stride, plan.activation, size, depthwise=True
        )
        if plan.squeeze_excite:
            layers["squeeze_excite"] = SqueezeExcite(hidden)
        layers["project"], _ = _conv(hidden, plan.width, 1, 1, None, self.output_size)
        self.layers = nn.Sequential(OrderedDict(layers))
        self.residual = plan.stride == 1 and channels == plan.width

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return [N, width, H / stride, W / stride]."""
        output: torch.Tensor = self.layers(features)
        return features + output if self.residual else output


class SqueezeExcite(nn.Module):
    """Channel gates from pooled features, with the hard sigmoid of MobileNetV3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = squeezed_channels(channels)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = nn.ReLU()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the features, each channel scaled by its gate."""
        gates: torch.Tensor = self.gate(self.expand(self.activation(self.reduce(self.pool(features)))))
        return features * gates


def stem(shape: tuple[int, int, int], width: int, stride: int, activation: str) -> nn.Module:
    """Return the first convolution alone, for inputs of a shape [C, H, W]."""
    return _conv(shape[0], width, 3, stride, activation, shape[1:])[0]


def block(shape: tuple[int, int, int], plan: BlockPlan) -> nn.Module:
    """Return an inverted bottleneck alone."""
    return InvertedBottleneck(shape[0], plan, shape[1:])


def head(shape: tuple[int, int, int], width: int, activation: str) -> nn.Module:
    """Return the last convolution alone."""
    return _conv(shape[0], width, 1, 1, activation, shape[1:])[0]


def classifier(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return pooling and the linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(shape[0], classes))


def _conv(
    channels: int,
    width: int,
    kernel: int,
    stride: int,
    activation: str | None,
    size: tuple[int, int],
    depthwise: bool = False,
) -> tuple[nn.Sequential, tuple[int, int]]:
    """Convolution, batch-norm, activation; and the size of its output."""
    layers: dict[str, nn.Module] = {}
    output = tuple(-(-side // stride) for side in size)
    totals = [max(0, (out - 1) * stride + kernel - side) for out, side in zip(output, size, strict=True)]
    padding = kernel // 2
    # Where a kernel is larger than its picture, torch is many times slower in the weights' gradient unless the picture
    # is padded first.
    beyond = depthwise and kernel > min(size)
    if beyond or any(total != 2 * padding for total in totals):
        (top, left), padding = (totals[0] // 2, totals[1] // 2), 0
        layers["pad"] = nn.ZeroPad2d((left, totals[1] - left, top, totals[0] - top))
    groups = channels if depthwise else 1
    layers["conv"] = nn.Conv2d(channels, width, kernel, stride, padding, groups=groups, bias=False)
    layers["norm"] = nn.BatchNorm2d(width)
    if activation is not None:
        layers["activation"] = _ACTIVATIONS[activation]()
    return nn.Sequential(OrderedDict(layers)), (output[0], output[1])


def _initialise(net: nn.Module) -> None:
    if next(net.parameters()).is_meta:
        return  # a skeleton, to be given weights
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
