"""Which decisions say what stands at each place of an mbconv net: for latencies expected of a distribution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hilnas.spaces.base import PartFactor
from hilnas.spaces.mbconv_parts import Shape, block_part, classifier_part, head_part, stem_part
from hilnas.spaces.mbconv_plan import BlockPlan, strided
from hilnas.trial import Choice

_WHERE = ("resolution", "stem.stride")


@dataclass(frozen=True)
class Chain:
    """What is not decided, and how many blocks a stage may have."""

    shape_of: Callable[[Choice], Shape]
    """[C, H, W] of a resolution."""
    stage_strides: Sequence[int]
    stage_blocks: Sequence[int]
    head_width: int
    classes: int


def factors(chain: Chain) -> list[PartFactor]:
    """Return the places in order."""
    found = [_stem(chain)]
    entering = "stem.width"
    for number, blocks in enumerate(chain.stage_blocks, start=1):
        for block in range(1, blocks + 1):
            found.append(_block(chain, number, block, entering if block == 1 else f"stage{number}.width"))
        entering = f"stage{number}.width"
    return [*found, _head(chain, len(chain.stage_blocks)), _classifier(chain)]


def _size(chain: Chain, resolution: Choice, stride: Choice, stages: int) -> tuple[int, int]:
    """Return [H, W] after the stem and so many stages."""
    _, height, width = chain.shape_of(resolution)
    for step in (int(stride), *chain.stage_strides[:stages]):
        height, width = strided(height, step), strided(width, step)
    return height, width


def _stem(chain: Chain) -> PartFactor:
    def key(values: tuple[Choice, ...]) -> str:
        resolution, stride, width, activation = values
        return stem_part(chain.shape_of(resolution), int(width), int(stride), str(activation)).key

    return PartFactor((*_WHERE, "stem.width", "stage1.activation"), key)


def _block(chain: Chain, number: int, block: int, entering: str) -> PartFactor:
    stage = f"stage{number}"
    name = f"{stage}.block{block}"
    own = [] if entering == f"{stage}.width" else [entering]

    def key(values: tuple[Choice, ...]) -> str | None:
        resolution, stride, depth, width, activation, kernel, expansion, gates, *before = values
        if int(depth) < block:
            return None
        passed = number - 1 if block == 1 else number
        shape = (int(before[0]) if before else int(width), *_size(chain, resolution, stride, passed))
        own_stride = chain.stage_strides[number - 1] if block == 1 else 1
        plan = BlockPlan(
            "", int(width), own_stride, int(kernel), int(expansion), bool(gates), str(activation)
        )
        return block_part(shape, plan).key

    decided = [f"{stage}.depth", f"{stage}.width", f"{stage}.activation"]
    inner = [f"{name}.kernel", f"{name}.expansion", f"{name}.se"]
    return PartFactor((*_WHERE, *decided, *inner, *own), key)


def _head(chain: Chain, stages: int) -> PartFactor:
    def key(values: tuple[Choice, ...]) -> str:
        resolution, stride, width, activation = values
        shape = (int(width), *_size(chain, resolution, stride, stages))
        return head_part(shape, chain.head_width, str(activation)).key

    return PartFactor((*_WHERE, f"stage{stages}.width", f"stage{stages}.activation"), key)


def _classifier(chain: Chain) -> PartFactor:
    def key(values: tuple[Choice, ...]) -> str:
        resolution, stride = values
        size = _size(chain, resolution, stride, len(chain.stage_strides))
        return classifier_part((chain.head_width, *size), chain.classes).key

    return PartFactor(_WHERE, key)
