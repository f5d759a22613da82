"""Mixtures of mbconv nets: every decision as a gate, a weight for each choice, so that gradients reach it.

All choices of a block are pieces of one set of tensors, those of the supernet, so a mixture is a mask: of the
depthwise kernel (Stamoulis et al. 2019, Single-Path NAS), of channels (Wan et al. 2020, FBNetV2). Blocks beyond
a depth are skipped, activations and squeeze-excite are weighted sums, resolutions and strides weighted logits.
With gates of 0 and 1 it computes what the net of those choices computes on its pieces of the tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from hilnas.spaces.mbconv_plan import squeezed_channels, strided
from hilnas.tasks.resize import sized

Gates = Mapping[str, torch.Tensor]
"""A weight for each choice of each decision; of one decision they sum to 1."""

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu6": functional.relu6,
    "hswish": functional.hardswish,
}


@dataclass(frozen=True)
class Stage:
    """A stage's choices; blocks are numbered from 1."""

    name: str
    widths: Sequence[int]
    depths: Sequence[int]
    stride: int
    first: int
    """Place of its first block in the supernet."""


@dataclass(frozen=True)
class Form:
    """What the mixtures of a space are made of."""

    resolutions: Sequence[tuple[int, int]]
    stem_widths: Sequence[int]
    stem_strides: Sequence[int]
    stages: Sequence[Stage]
    kernels: Sequence[int]
    expansions: Sequence[int]
    squeeze_excite: Sequence[bool]
    activations: Sequence[str]
    dropout: float


class Relaxed(nn.Module):
    """A supernet that runs mixtures: float32 [N, C, H, W] of the task's size and gates, to logits [N, classes]."""

    def __init__(self, form: Form, shared: nn.Module) -> None:
        super().__init__()
        self.form = form
        self.shared = shared
        self._largest = max(form.expansions)
        self._tensors = dict(shared.named_parameters())

    def forward(self, images: torch.Tensor, gates: Gates) -> torch.Tensor:
        """Return the logits of a mixture, by the statistics of the batch."""
        logits: list[torch.Tensor] = []
        for place, size in enumerate(self.form.resolutions):
            resolution = gates["resolution"][place]
            if not _matters(resolution):
                continue
            resized = sized(images, size)
            for number, stride in enumerate(self.form.stem_strides):
                weight = resolution * gates["stem.stride"][number]
                if _matters(weight):
                    logits.append(weight * self._logits(resized, stride, gates))
        return torch.stack(logits).sum(0)

    def _logits(self, images: torch.Tensor, stride: int, gates: Gates) -> torch.Tensor:
        first, last = self.form.stages[0].name, self.form.stages[-1].name
        features = _convolved(images, self._at("net.stem.conv.weight"), stride)
        features = self._activated(self._normalised(features, "net.stem"), gates[f"{first}.activation"])
        widths, channels = self.form.stem_widths, gates["stem.width"]
        features = features * _mask(features, _prefixes(widths, channels))
        for stage in self.form.stages:
            features, widths, channels = self._stage(features, stage, widths, channels, gates)
        features = self._normalised(_convolved(features, self._at("net.head.conv.weight"), 1), "net.head")
        pooled = self._activated(features, gates[f"{last}.activation"]).mean((2, 3))
        pooled = functional.dropout(pooled, self.form.dropout, self.training)
        return functional.linear(pooled, self._at("net.classifier.weight"), self._at("net.classifier.bias"))

    def _stage(
        self,
        features: torch.Tensor,
        stage: Stage,
        widths: Sequence[int],
        channels: torch.Tensor,
        gates: Gates,
    ) -> tuple[torch.Tensor, Sequence[int], torch.Tensor]:
        """Return the output [N, widest, H, W] of a stage, and its widths with their gates."""
        output: torch.Tensor | float = 0.0
        own = gates[f"{stage.name}.width"]
        for number in range(1, max(stage.depths) + 1):
            entering = (widths, channels) if number == 1 else (stage.widths, own)
            features = self._block(features, stage, number, *entering, gates)
            if number in stage.depths:
                output = output + gates[f"{stage.name}.depth"][stage.depths.index(number)] * features
        assert isinstance(output, torch.Tensor)
        return output, stage.widths, own

    def _block(
        self,
        features: torch.Tensor,
        stage: Stage,
        number: int,
        widths: Sequence[int],
        channels: torch.Tensor,
        gates: Gates,
    ) -> torch.Tensor:
        """Mix the forms of a block: `widths` and their gates `channels` are of what comes in."""
        name, place = f"{stage.name}.block{number}", stage.first + number - 1
        stride = stage.stride if number == 1 else 1
        own = gates[f"{stage.name}.width"]
        parts: list[torch.Tensor] = []
        for plain in (True, False):
            chosen = [
                (e, gates[f"{name}.expansion"][i])
                for i, e in enumerate(self.form.expansions)
                if (e == 1) == plain
            ]
            total = sum(weight for _, weight in chosen)
            if not chosen or not isinstance(total, torch.Tensor) or not _matters(total):
                continue
            part = "plain" if plain and self._largest > 1 else "net"
            hidden = [(w * e, channels[i] * g) for i, w in enumerate(widths) for e, g in chosen]
            parts.append(
                self._path(
                    features, f"{part}.blocks.{place}.layers", hidden, total, name, stage, stride, gates
                )
            )
        output = torch.stack(parts).sum(0)
        output = output * _mask(output, _prefixes(stage.widths, own))
        if stride != 1:
            return output
        if number > 1:
            return output + features
        kept = sum(channels[widths.index(w)] * own[i] for i, w in enumerate(stage.widths) if w in widths)
        return output + kept * _aligned(features, output.shape[1])

    def _path(
        self,
        features: torch.Tensor,
        layers: str,
        hidden: Sequence[tuple[int, torch.Tensor]],
        total: torch.Tensor,
        name: str,
        stage: Stage,
        stride: int,
        gates: Gates,
    ) -> torch.Tensor:
        """Return the part of a block that has an expansion, or has none: `total` is the sum of its gates.

        `hidden` are the numbers of hidden channels that it may have, with their gates.
        """
        activation = gates[f"{stage.name}.activation"]
        # Of this path alone the gates sum to 1: what comes out is weighed by `total` in the end.
        shares = [(count, gate / total.clamp_min(1e-6)) for count, gate in hidden]
        counts, weights = [count for count, _ in shares], torch.stack([gate for _, gate in shares])
        inner = features
        if f"{layers}.expand.conv.weight" in self._tensors:
            inner = _convolved(inner, self._at(f"{layers}.expand.conv.weight"), 1)
            inner = self._activated(self._normalised(inner, f"{layers}.expand"), activation)
            inner = inner * _mask(inner, _prefixes(counts, weights))
        kernel = self._kernel(f"{layers}.depthwise.conv.weight", gates[f"{name}.kernel"])
        kernel = kernel[: inner.shape[1]]
        inner = _convolved(inner, kernel, stride, groups=inner.shape[1])
        inner = self._activated(self._normalised(inner, f"{layers}.depthwise"), activation)
        mask = _mask(inner, _prefixes(counts, weights))
        inner = inner * mask
        inner = self._squeezed(inner, f"{layers}.squeeze_excite", gates[f"{name}.se"], counts, weights)
        project = self._at(f"{layers}.project.conv.weight")[:, : inner.shape[1]]
        return total * self._normalised(_convolved(inner, project, 1), f"{layers}.project")

    def _kernel(self, name: str, gate: torch.Tensor) -> torch.Tensor:
        """Return a mixture of the middles of a depthwise kernel [channels, 1, K, K]."""
        weight = self._at(name)
        mixed = torch.zeros_like(weight)
        for place, side in enumerate(self.form.kernels):
            rim = (weight.shape[-1] - side) // 2
            middle = weight[..., rim : rim + side, rim : rim + side]
            mixed = mixed + gate[place] * functional.pad(middle, (rim,) * 4)
        return mixed

    def _squeezed(
        self,
        features: torch.Tensor,
        name: str,
        gate: torch.Tensor,
        counts: Sequence[int],
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """Mix features with and without squeeze-excite."""
        if True not in self.form.squeeze_excite:
            return features
        on = gate[list(self.form.squeeze_excite).index(True)]
        if not _matters(on):
            return features
        channels = features.shape[1]
        pooled = features.mean((2, 3), keepdim=True)
        reduced = functional.conv2d(
            pooled, self._at(f"{name}.reduce.weight")[:, :channels], self._at(f"{name}.reduce.bias")
        ).relu()
        narrow = _prefixes([squeezed_channels(count) for count in counts], weights)
        reduced = reduced * _mask(reduced, narrow)
        expanded = functional.conv2d(
            reduced, self._at(f"{name}.expand.weight")[:channels], self._at(f"{name}.expand.bias")[:channels]
        )
        return features * (on * functional.hardsigmoid(expanded) + (1 - on))

    def _activated(self, features: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        parts = [
            gate[place] * _ACTIVATIONS[name](features)
            for place, name in enumerate(self.form.activations)
            if _matters(gate[place])
        ]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]

    def _normalised(self, features: torch.Tensor, layer: str) -> torch.Tensor:
        count = features.shape[1]
        weight, bias = self._at(f"{layer}.norm.weight")[:count], self._at(f"{layer}.norm.bias")[:count]
        return functional.batch_norm(features, None, None, weight, bias, training=True)

    def _at(self, name: str) -> torch.Tensor:
        return self._tensors[name]


def _matters(gate: torch.Tensor) -> bool:
    """Is a choice mixed in, or to be judged by its gradient?"""
    return gate.requires_grad or bool(gate != 0)


def _prefixes(counts: Sequence[int], weights: torch.Tensor) -> list[tuple[int, torch.Tensor]]:
    return [(count, weights[place]) for place, count in enumerate(counts)]


def _mask(features: torch.Tensor, prefixes: Sequence[tuple[int, torch.Tensor]]) -> torch.Tensor:
    """Return how much of each channel is there [1, C, 1, 1]: the sum of the gates of all counts above it."""
    channels = torch.arange(features.shape[1], device=features.device)
    there = torch.stack([gate * (channels < count) for count, gate in prefixes]).sum(0)
    return there[None, :, None, None]


def _aligned(features: torch.Tensor, channels: int) -> torch.Tensor:
    have = features.shape[1]
    if have >= channels:
        return features[:, :channels]
    return functional.pad(features, (0, 0, 0, 0, 0, channels - have))


def _convolved(features: torch.Tensor, weight: torch.Tensor, stride: int, groups: int = 1) -> torch.Tensor:
    """Convolve with SAME padding, as TFLite places it; `weight` may have more input channels than there are."""
    if groups == 1:
        weight = weight[:, : features.shape[1]]
    side = weight.shape[-1]
    totals = [max(0, (strided(have, stride) - 1) * stride + side - have) for have in features.shape[2:]]
    (top, left), (bottom, right) = [t // 2 for t in totals], [t - t // 2 for t in totals]
    if (top, left) == (bottom, right) == (side // 2, side // 2):
        return functional.conv2d(features, weight, stride=stride, padding=side // 2, groups=groups)
    return functional.conv2d(
        functional.pad(features, (left, right, top, bottom)), weight, stride=stride, groups=groups
    )
