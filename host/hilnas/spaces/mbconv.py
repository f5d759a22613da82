"""`mbconv`: inverted bottlenecks as in MobileNetV2 (Sandler et al. 2018) and V3 (Howard et al. 2019)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from hilnas.options import Options
from hilnas.spaces.base import BlockSummary, Decision, Part, PartFactor, Share, Space, SpaceError
from hilnas.spaces.mbconv_factors import Chain, factors
from hilnas.spaces.mbconv_parts import Choices, StageChoices, every_part, parts_of
from hilnas.spaces.mbconv_plan import BlockPlan, NetPlan
from hilnas.spaces.mbconv_scaling import scaled_channels, scaled_choices, scaled_options
from hilnas.spaces.mbconv_shares import shares, supernet
from hilnas.trial import Architecture, Choice

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["relu6", "hswish"]
Numbers = Annotated[list[PositiveInt], Field(min_length=1)]


class MBConvOptions(Options):
    """Which choices there are. The lists of stages must be of one length."""

    resolutions: list[PositiveFloat] = Field([0.75, 1.0], min_length=1)
    """Input sizes, as shares of the task's own."""
    stem_widths: list[PositiveInt] = Field([8, 16], min_length=1)
    """Channels of the first convolution."""
    stem_strides: list[PositiveInt] = Field([2], min_length=1)
    """Strides of the first convolution."""
    stage_widths: list[Numbers] = Field([[8, 16, 24], [16, 24, 32], [32, 48, 64]])
    """Output channels of each stage."""
    stage_depths: list[Numbers] = Field([[1, 2], [1, 2, 3], [1, 2, 3]])
    """Numbers of blocks of each stage: the blocks beyond are skipped."""
    stage_strides: list[PositiveInt] = Field([1, 2, 2])
    """Stride of each stage's first block."""
    kernels: list[int] = Field([3, 5, 7], min_length=1)
    """Sides of the depthwise kernels."""
    expansions: list[PositiveInt] = Field([1, 3, 4, 6], min_length=1)
    """Hidden channels of a block over its input channels."""
    squeeze_excite: list[bool] = Field([False, True], min_length=1)
    """Whether a block may have squeeze-excite (Hu et al. 2018)."""
    activations: list[Activation] = Field(["relu6", "hswish"], min_length=1)
    """Activation functions, decided for each stage."""
    head_width: int = Field(128, ge=8)
    """Channels of the last 1x1 convolution, before pooling."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout before the classifier while training."""

    @field_validator("kernels")
    @classmethod
    def _odd(cls, kernels: list[int]) -> list[int]:
        if any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
            raise ValueError("kernels must be odd and positive")
        return kernels


class MBConv(Space):
    """Stem, stages of inverted bottlenecks, head; shaped by the task's [C, H, W] and classes."""

    Options = MBConvOptions

    def __init__(
        self, shape: tuple[int, int, int], classes: int, options: MBConvOptions | None = None
    ) -> None:
        self.shape = shape
        self.classes = classes
        self.options = options or MBConvOptions()
        stages = {
            len(self.options.stage_widths),
            len(self.options.stage_depths),
            len(self.options.stage_strides),
        }
        if len(stages) != 1 or 0 in stages:
            raise SpaceError("stage_widths, stage_depths and stage_strides must name the same stages")
        super().__init__("mbconv", tuple(self._make_decisions()))
        smallest = min(_scaled(shape, float(scale))[1:] for scale in self.options.resolutions)
        if min(smallest) < 8:
            raise SpaceError(f"an input of {smallest} is too small for mbconv: raise space.resolutions")

    def _make_decisions(self) -> list[Decision]:
        options = self.options
        decisions = [
            _decision(
                "resolution", [_size_name(_scaled(self.shape, scale)) for scale in options.resolutions]
            ),
            _decision("stem.width", options.stem_widths),
            _decision("stem.stride", options.stem_strides),
        ]
        for number, depths in enumerate(options.stage_depths, start=1):
            stage = f"stage{number}"
            decisions += [
                _decision(f"{stage}.width", options.stage_widths[number - 1]),
                _decision(f"{stage}.activation", options.activations),
                _decision(f"{stage}.depth", depths),
            ]
            for block in range(1, max(depths) + 1):
                parent = f"{stage}.depth"
                when = frozenset[Choice](depth for depth in depths if depth >= block)
                for what, choices in (
                    ("kernel", options.kernels),
                    ("expansion", options.expansions),
                    ("se", options.squeeze_excite),
                ):
                    decisions.append(_decision(f"{stage}.block{block}.{what}", choices, parent, when))
        return decisions

    @property
    def settings(self) -> dict[str, Any]:
        """Shape, classes and what is not decided."""
        return {
            "shape": list(self.shape),
            "classes": self.classes,
            "strides": self.options.stage_strides,
            "head": self.options.head_width,
        }

    def input_shape(self, architecture: Architecture) -> tuple[int, int, int]:
        """Return [C, H, W] at the resolution decided."""
        return self._shape_of(architecture["resolution"])

    def _shape_of(self, resolution: Choice) -> tuple[int, int, int]:
        height, width = str(resolution).split("x")
        return self.shape[0], int(height), int(width)

    def plan(self, architecture: Architecture) -> NetPlan:
        """Resolve the decisions into the blocks to build."""
        return self._plan(self.check(architecture))

    def _plan(self, architecture: Architecture) -> NetPlan:
        blocks: list[BlockPlan] = []
        for number, stride in enumerate(self.options.stage_strides, start=1):
            stage = f"stage{number}"
            for block in range(1, int(architecture[f"{stage}.depth"]) + 1):
                name = f"{stage}.block{block}"
                blocks.append(
                    BlockPlan(
                        name=name,
                        width=int(architecture[f"{stage}.width"]),
                        stride=stride if block == 1 else 1,
                        kernel=int(architecture[f"{name}.kernel"]),
                        expansion=int(architecture[f"{name}.expansion"]),
                        squeeze_excite=bool(architecture[f"{name}.se"]),
                        activation=str(architecture[f"{stage}.activation"]),
                    )
                )
        return NetPlan(
            input=self.input_shape(architecture),
            classes=self.classes,
            stem_width=int(architecture["stem.width"]),
            stem_stride=int(architecture["stem.stride"]),
            blocks=tuple(blocks),
            head_width=self.options.head_width,
            dropout=self.options.dropout,
        )

    def parts(self, architecture: Architecture) -> list[Part]:
        """Return stem, blocks, head and classifier, each alone."""
        return parts_of(self.plan(architecture))

    def every_part(self) -> Iterator[Part]:
        """Yield every stem, block, head and classifier that there can be."""
        options = self.options
        stages = [
            StageChoices(
                widths,
                max(depths),
                stride,
                options.kernels,
                options.expansions,
                options.squeeze_excite,
                options.activations,
            )
            for widths, depths, stride in zip(
                options.stage_widths, options.stage_depths, options.stage_strides, strict=True
            )
        ]
        inputs = [_scaled(self.shape, scale) for scale in options.resolutions]
        return every_part(
            Choices(
                inputs, options.stem_widths, options.stem_strides, stages, options.head_width, self.classes
            )
        )

    def scaled(
        self, architecture: Architecture, depth: float, width: float, resolution: float
    ) -> tuple[Space, Architecture]:
        """Return the scaled net; see `mbconv_scaling`."""
        net = self.check(architecture)
        stages = len(self.options.stage_strides)
        own = self.input_shape(net)[1] / self.shape[1]
        settings = scaled_options(net, stages, own, depth, width, resolution)
        settings["head_width"] = scaled_channels(self.options.head_width, width)
        space = MBConv(self.shape, self.classes, MBConvOptions(**{**self.options.model_dump(), **settings}))
        return space, space.complete(scaled_choices(net, stages, depth), _first)

    def part_factors(self) -> list[PartFactor]:
        """Return stem, every block that there may be, head and classifier."""
        chain = Chain(
            self._shape_of,
            self.options.stage_strides,
            [max(depths) for depths in self.options.stage_depths],
            self.options.head_width,
            self.classes,
        )
        return factors(chain)

    def features(self, architecture: Architecture) -> Mapping[str, float]:
        """Return MACs and parameters. The architecture must be of this space."""
        macs, parameters = self._plan(architecture).costs()
        return {"macs": macs, "parameters": parameters}

    def build(self, architecture: Architecture) -> "nn.Module":
        """Return the torch module of an architecture."""
        from hilnas.spaces.mbconv_module import MBConvNet

        return MBConvNet(self.plan(architecture))

    def supernet(self) -> "nn.Module":
        """Return the tensors of the largest net, and those of blocks without expansion."""
        return supernet(self._largest, self.options.expansions)

    def shares(self, architecture: Architecture) -> Mapping[str, Share]:
        """Return the leading piece of each tensor; see `mbconv_shares`."""
        return dict(shares(self.plan(architecture), self._largest))

    def relaxed(self) -> "nn.Module":
        """Return a supernet that runs mixtures; see `mbconv_relaxed`."""
        from hilnas.spaces.mbconv_relaxed import Form, Relaxed, Stage

        options, stages, first = self.options, [], 0
        for number, depths in enumerate(options.stage_depths):
            stages.append(
                Stage(
                    f"stage{number + 1}",
                    options.stage_widths[number],
                    depths,
                    options.stage_strides[number],
                    first,
                )
            )
            first += max(depths)
        form = Form(
            [_scaled(self.shape, float(scale))[1:] for scale in options.resolutions],
            options.stem_widths,
            options.stem_strides,
            stages,
            options.kernels,
            options.expansions,
            options.squeeze_excite,
            options.activations,
            options.dropout,
        )
        return Relaxed(form, self.supernet())

    def extremes(self) -> tuple[Architecture, Architecture]:
        """Return the net of least and that of most operations."""
        resolutions = sorted(
            self._by_name["resolution"].choices, key=lambda size: int(str(size).split("x")[0])
        )
        strides, least, most = self.options.stem_strides, *super().extremes()
        return (
            self.complete(
                {**dict(least.decisions), "resolution": resolutions[0], "stem.stride": max(strides)}, _first
            ),
            self.complete(
                {**dict(most.decisions), "resolution": resolutions[-1], "stem.stride": min(strides)}, _first
            ),
        )

    @property
    def shrinking(self) -> tuple[tuple[str, ...], ...]:
        """Resolution and stride first, then kernels, depths, and all else (Cai et al. 2020, 3.3)."""
        names = [decision.name for decision in self.decisions]
        first = [name for name in names if name in ("resolution", "stem.stride")]
        kernels = [name for name in names if name.endswith(".kernel")]
        depths = [name for name in names if name.endswith(".depth")]
        rest = [name for name in names if name not in {*first, *kernels, *depths}]
        return tuple(first), tuple(kernels), tuple(depths), tuple(rest)

    @property
    def _largest(self) -> NetPlan:
        """All blocks, each as large as it can be. Squeeze-excite only where it may be."""
        _, largest = self.extremes()
        return self._plan(largest)

    def describe(self, architecture: Architecture) -> list[BlockSummary]:
        """Return stem, blocks and head with their output shapes."""
        return self.plan(architecture).summary()


def _first(choices: Sequence[Choice]) -> Choice:
    return choices[0]


def _decision(
    name: str, choices: Any, parent: str | None = None, when: frozenset[Choice] = frozenset()
) -> Decision:
    return Decision(name, tuple(choices), parent, when)


def _scaled(shape: tuple[int, int, int], scale: float) -> tuple[int, int, int]:
    return shape[0], round(shape[1] * scale), round(shape[2] * scale)


def _size_name(shape: tuple[int, int, int]) -> str:
    return f"{shape[1]}x{shape[2]}"
