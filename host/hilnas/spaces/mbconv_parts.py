"""What mbconv nets are chained of: stem, blocks, head, classifier, each alone and on its own input."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from hilnas.spaces.base import Part
from hilnas.spaces.mbconv_plan import BlockPlan, NetPlan, strided

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Choices:
    """All that the parts of a space's nets can be; one entry a stage in `stages`."""

    inputs: Sequence[Shape]
    stem_widths: Sequence[int]
    stem_strides: Sequence[int]
    stages: Sequence["StageChoices"]
    head_width: int
    classes: int


@dataclass(frozen=True)
class StageChoices:
    """What the blocks of one stage can be."""

    widths: Sequence[int]
    depth: int
    """The most blocks."""
    stride: int
    kernels: Sequence[int]
    expansions: Sequence[int]
    squeeze_excite: Sequence[bool]
    activations: Sequence[str]

    def blocks(self) -> Iterator[BlockPlan]:
        """Yield a block of each form, at the stage's stride."""
        forms = product(self.kernels, self.expansions, self.squeeze_excite, self.activations, self.widths)
        for kernel, expansion, squeeze_excite, activation, width in forms:
            yield BlockPlan("", width, self.stride, kernel, expansion, squeeze_excite, activation)


def parts_of(plan: NetPlan) -> list[Part]:
    """Return the parts of a net in order."""
    stem = stem_part(plan.input, plan.stem_width, plan.stem_stride, plan.first_activation)
    shape = _after(plan.input, plan.stem_width, plan.stem_stride)
    parts = [stem]
    for block in plan.blocks:
        parts.append(block_part(shape, block))
        shape = _after(shape, block.width, block.stride)
    head = head_part(shape, plan.head_width, plan.last_activation)
    return [*parts, head, classifier_part((plan.head_width, *shape[1:]), plan.classes)]


def every_part(choices: Choices) -> Iterator[Part]:
    """Yield every part of every net, each once."""
    seen: set[str] = set()
    for part in _all(choices):
        if part.key not in seen:
            seen.add(part.key)
            yield part


def _all(choices: Choices) -> Iterator[Part]:
    first = choices.stages[0]
    for image, stride in product(choices.inputs, choices.stem_strides):
        for width, activation in product(choices.stem_widths, first.activations):
            yield stem_part(image, width, stride, activation)
        widths: Sequence[int] = choices.stem_widths
        _, height, across = _after(image, 0, stride)
        for stage in choices.stages:
            for width, block in product(widths, stage.blocks()):
                yield block_part((width, height, across), block)
            _, height, across = _after((0, height, across), 0, stage.stride)
            if stage.depth > 1:
                for block in stage.blocks():
                    yield block_part((block.width, height, across), replace(block, stride=1))
            widths = stage.widths
        for width, activation in product(widths, choices.stages[-1].activations):
            yield head_part((width, height, across), choices.head_width, activation)
        yield classifier_part((choices.head_width, height, across), choices.classes)


def stem_part(shape: Shape, width: int, stride: int, activation: str) -> Part:
    """Return a stem on an input of a shape."""
    key = f"stem s{stride} {activation} {_name(shape)}>{width}"
    return Part(key, shape, partial(_build, "stem", shape, width, stride, activation))


def block_part(shape: Shape, block: BlockPlan) -> Part:
    """Return a block on what has a shape."""
    gates = " se" if block.squeeze_excite else ""
    form = f"k{block.kernel} e{block.expansion} s{block.stride}{gates} {block.activation}"
    return Part(f"block {form} {_name(shape)}>{block.width}", shape, partial(_build, "block", shape, block))


def head_part(shape: Shape, width: int, activation: str) -> Part:
    """Return a head on what has a shape."""
    key = f"head {activation} {_name(shape)}>{width}"
    return Part(key, shape, partial(_build, "head", shape, width, activation))


def classifier_part(shape: Shape, classes: int) -> Part:
    """Return a classifier on what has a shape."""
    key = f"classifier {_name(shape)}>{classes}"
    return Part(key, shape, partial(_build, "classifier", shape, classes))


def _build(kind: str, *arguments: object) -> "nn.Module":
    from hilnas.spaces import mbconv_module

    makers: dict[str, Callable[..., nn.Module]] = {
        "stem": mbconv_module.stem,
        "block": mbconv_module.block,
        "head": mbconv_module.head,
        "classifier": mbconv_module.classifier,
    }
    return makers[kind](*arguments)


def _after(shape: Shape, width: int, stride: int) -> Shape:
    return width, strided(shape[1], stride), strided(shape[2], stride)


def _name(shape: Shape) -> str:
    return "x".join(map(str, shape))
