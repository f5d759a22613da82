"""The blocks of one mbconv net, resolved from its decisions: plain data, no torch."""

from dataclasses import dataclass

from hilnas.spaces.base import BlockSummary


@dataclass(frozen=True)
class BlockPlan:
    """An inverted bottleneck: expand 1x1, depthwise, squeeze-excite, project 1x1."""

    name: str
    width: int
    stride: int
    kernel: int
    expansion: int
    squeeze_excite: bool
    activation: str


@dataclass(frozen=True)
class NetPlan:
    """A whole net: stem, blocks, head."""

    input: tuple[int, int, int]
    classes: int
    stem_width: int
    stem_stride: int
    blocks: tuple[BlockPlan, ...]
    head_width: int
    dropout: float

    @property
    def first_activation(self) -> str:
        """The stem's activation: that of the first stage."""
        return self.blocks[0].activation

    @property
    def last_activation(self) -> str:
        """The head's activation: that of the last stage."""
        return self.blocks[-1].activation

    def costs(self) -> tuple[int, int]:
        """Return multiply-accumulate operations of one inference, and parameters, batch-norm folded in."""
        channels, height, width = self.input
        pixels = strided(height, self.stem_stride) * strided(width, self.stem_stride)
        height, width = strided(height, self.stem_stride), strided(width, self.stem_stride)
        weights = 9 * channels * self.stem_width
        macs, parameters, channels = pixels * weights, weights + self.stem_width, self.stem_width
        for block in self.blocks:
            hidden = channels * block.expansion
            expand = channels * hidden if block.expansion != 1 else 0
            macs += height * width * expand
            parameters += expand + (hidden if expand else 0)
            height, width = strided(height, block.stride), strided(width, block.stride)
            depthwise, project = block.kernel**2 * hidden, hidden * block.width
            macs += height * width * (depthwise + project)
            parameters += depthwise + hidden + project + block.width
            if block.squeeze_excite:
                squeezed = squeezed_channels(hidden)
                macs += 2 * hidden * squeezed
                parameters += 2 * hidden * squeezed + hidden + squeezed
            channels = block.width
        head, classifier = channels * self.head_width, self.head_width * self.classes
        macs += height * width * head + classifier
        return macs, parameters + head + self.head_width + classifier + self.classes

    def summary(self) -> list[BlockSummary]:
        """Return a row for each block, with its output [C, H, W]."""
        _, height, width = self.input
        height, width = strided(height, self.stem_stride), strided(width, self.stem_stride)
        stem = {"kernel": "3", "stride": str(self.stem_stride), "activation": self.first_activation}
        rows = [
            BlockSummary("input", "input", self.input, {}),
            BlockSummary("stem", "convolution", (self.stem_width, height, width), stem),
        ]
        channels = self.stem_width
        for block in self.blocks:
            height, width = strided(height, block.stride), strided(width, block.stride)
            details = {
                "kernel": str(block.kernel),
                "expansion": str(block.expansion),
                "stride": str(block.stride),
                "squeeze-excite": "yes" if block.squeeze_excite else "no",
                "activation": block.activation,
                "residual": "yes" if block.stride == 1 and channels == block.width else "no",
            }
            channels = block.width
            rows.append(BlockSummary(block.name, "inverted bottleneck", (channels, height, width), details))
        head = {"kernel": "1", "activation": self.last_activation}
        rows.append(BlockSummary("head", "convolution", (self.head_width, height, width), head))
        rows.append(BlockSummary("classifier", "pool and linear", (self.classes, 1, 1), {}))
        return rows


def squeezed_channels(channels: int) -> int:
    """Return the channels between the two convolutions of a squeeze-excite block."""
    return max(8, channels // 4)


def strided(size: int, stride: int) -> int:
    """Return the side of what a convolution with SAME padding makes of a side."""
    return -(-size // stride)
