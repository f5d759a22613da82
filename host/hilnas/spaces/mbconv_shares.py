"""How mbconv nets share weights: slim, thin and shallow nets are leading pieces of the largest (Once-for-All, BigNAS).

Widths and expansions take the first channels, depths the first blocks of a stage, kernels the middle of the
largest. A block without an expansion has layers of its own ("plain"): its depthwise kernels meet the block's
input itself, not an expansion of it, and what is right for one is wrong for the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hilnas.spaces.base import Share
from hilnas.spaces.mbconv_plan import BlockPlan, NetPlan, squeezed_channels

if TYPE_CHECKING:
    from torch import nn

Shares = Iterator[tuple[str, Share]]


def supernet(largest: NetPlan, expansions: Sequence[int]) -> "nn.Module":
    """Return a module that holds the largest net's tensors, and those of its blocks without an expansion."""
    from torch import nn

    from hilnas.spaces.mbconv_module import MBConvNet

    plain = replace(largest, blocks=tuple(replace(block, expansion=1) for block in largest.blocks))
    if max(expansions) == 1:
        return nn.ModuleDict({"net": MBConvNet(plain)})
    parts: dict[str, nn.Module] = {"net": MBConvNet(largest)}
    if min(expansions) == 1:
        parts["plain"] = nn.ModuleDict({"blocks": MBConvNet(plain).blocks})
    return nn.ModuleDict(parts)


def shares(plan: NetPlan, largest: NetPlan) -> Shares:
    """Yield each floating-point tensor of a net's state dict, and the piece of the supernet's that it is."""
    places = {block.name: place for place, block in enumerate(largest.blocks)}
    yield from _layer("stem", "net.stem", (slice(plan.stem_width),), plan.stem_width)
    channels = plan.stem_width
    for number, block in enumerate(plan.blocks):
        ample = largest.blocks[places[block.name]]
        part = "plain" if block.expansion == 1 and ample.expansion != 1 else "net"
        yield from _block(
            f"blocks.{number}.layers", f"{part}.blocks.{places[block.name]}.layers", block, ample, channels
        )
        channels = block.width
    yield from _layer("head", "net.head", (slice(None), slice(channels)), plan.head_width)
    for what in ("weight", "bias"):
        yield f"classifier.{what}", Share(f"net.classifier.{what}")


def _block(ours: str, theirs: str, block: BlockPlan, ample: BlockPlan, channels: int) -> Shares:
    hidden = channels * block.expansion
    if block.expansion != 1:
        yield from _layer(f"{ours}.expand", f"{theirs}.expand", (slice(hidden), slice(channels)), hidden)
    rim = (ample.kernel - block.kernel) // 2
    middle = slice(rim, rim + block.kernel)
    kernels = (slice(hidden), slice(None), middle, middle)
    yield from _layer(f"{ours}.depthwise", f"{theirs}.depthwise", kernels, hidden)
    if block.squeeze_excite:
        yield from _squeeze_excite(f"{ours}.squeeze_excite", f"{theirs}.squeeze_excite", hidden)
    yield from _layer(
        f"{ours}.project", f"{theirs}.project", (slice(block.width), slice(hidden)), block.width
    )


def _squeeze_excite(ours: str, theirs: str, hidden: int) -> Shares:
    squeezed = squeezed_channels(hidden)
    for what, inputs, outputs in (("reduce", hidden, squeezed), ("expand", squeezed, hidden)):
        yield f"{ours}.{what}.weight", Share(f"{theirs}.{what}.weight", (slice(outputs), slice(inputs)))
        yield f"{ours}.{what}.bias", Share(f"{theirs}.{what}.bias", (slice(outputs),))


def _layer(ours: str, theirs: str, piece: tuple[slice, ...], width: int) -> Shares:
    """Yield a convolution and its batch-norm."""
    yield f"{ours}.conv.weight", Share(f"{theirs}.conv.weight", piece)
    for what in ("weight", "bias", "running_mean", "running_var"):
        yield f"{ours}.norm.{what}", Share(f"{theirs}.norm.{what}", (slice(width),))
