"""What cannot be exported is refused by name and place."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hilnas.export import ExportError, UnsupportedModuleError, export_int8
from tests.unit.export.cases import Apply

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Inside(nn.Module):
    """Something two modules down."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.block = nn.Sequential(nn.ReLU(), layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.stem(x))


class Branches(nn.Module):
    """Control flow that depends on numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


LAYERS: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "GELU": (nn.GELU, "GELU", "use nn.ReLU"),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), "GroupNorm", "BatchNorm2d"),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 4, 2), "ConvTranspose2d", "before the network"),
    "Softmax": (lambda: nn.Softmax(1), "Softmax", "leave it out"),
    "PReLU": (nn.PReLU, "PReLU", "nn.ReLU6"),
    "groups": (lambda: nn.Conv2d(4, 4, 3, groups=2), "Conv2d", "groups=1 or groups=4"),
    "reflection": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "Conv2d", "zeros"),
    "batch statistics": (
        lambda: nn.BatchNorm2d(4, track_running_stats=False),
        "BatchNorm2d",
        "track_running_stats",
    ),
    "dilated pool": (lambda: nn.MaxPool2d(2, dilation=2), "MaxPool2d", "dilation=1"),
    "uneven pool": (lambda: nn.AdaptiveAvgPool2d(3), "AdaptiveAvgPool2d", "pool to 1"),
    "linear on images": (lambda: nn.Linear(8, 4), "Linear", "flatten"),
    "negative padding": (lambda: nn.ZeroPad2d(-1), "ZeroPad2d", "negative"),
    "control flow": (Branches, "Branches", "__init__"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_is_named_with_its_path_and_the_remedy(name: str) -> None:
    build, what, remedy = LAYERS[name]
    with pytest.raises(UnsupportedModuleError, match=re.escape(remedy)) as caught:
        export_int8(Inside(build()), IMAGES)
    assert caught.value.path == "block.1"
    assert what in caught.value.what
    assert "block.1" in str(caught.value)


FUNCTIONS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "softmax": (lambda x: functional.softmax(x, dim=1), "leave it out"),
    "gelu": (functional.gelu, "nn.Hardswish"),
    "exp": (torch.exp, "write it with convolutions"),
    "permute": (lambda x: x.permute(0, 2, 3, 1), "1 x 1"),
    "difference": (lambda x: x - torch.relu(x), "negate"),
    "mean of channels": (lambda x: x.mean(1), "height and width"),
    "batch reshape": (lambda x: x.reshape(-1, 7), "does not fit"),
    "clamp above zero": (lambda x: x.clamp(1, 2), "both sides of zero"),
    "fancy index": (lambda x: x[:, [0, 1]], "slices"),
    "reflect": (lambda x: functional.pad(x, (1, 1), mode="reflect"), "zeros"),
    "constant per pixel": (lambda x: x * torch.ones(8, 8), "one number a channel"),
    "interpolate": (lambda x: functional.interpolate(x, scale_factor=2), "enlarge"),
    "two results": (lambda x: (x, x), "one tensor"),
    "unknown argument": (lambda x: torch.relu(x).mean((2, 3), dtype=torch.float64), "not supported"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_refused_with_the_module_it_stands_in(name: str) -> None:
    function, remedy = FUNCTIONS[name]
    with pytest.raises(UnsupportedModuleError, match=re.escape(remedy)) as caught:
        export_int8(Inside(Apply(function)) if name != "two results" else Apply(function), IMAGES)
    assert caught.value.path == ("block.1" if name != "two results" else "")


def test_reordering_reshapes_and_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ExportError, match="reorder"):
        export_int8(Apply(lambda x: x.reshape(-1, 12, 4, 4)), IMAGES)
    with pytest.raises(ExportError, match=r"window of \(3, 3\) does not fit"):
        export_int8(nn.Sequential(*(nn.Conv2d(3, 3, 3, 2) for _ in range(4))), IMAGES)
    with pytest.raises(ExportError, match="flattened image"):
        export_int8(Apply(lambda x: torch.relu(torch.sigmoid(x.flatten(1)))), IMAGES)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_broken_weights_name_the_layer(number: float) -> None:
    net = Inside(nn.Conv2d(4, 4, 3))
    with torch.no_grad():
        net.block[1].weight[0, 0, 0, 0] = number
    with pytest.raises(ExportError, match=r"weight of Conv2d at 'block\.1'"):
        export_int8(net, IMAGES)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_broken_calibration_images_are_refused(number: float) -> None:
    images = IMAGES.clone()
    images[2, 1, 3, 3] = number
    with pytest.raises(ExportError, match="layer 'input'"):
        export_int8(Inside(nn.ReLU()), images)


def test_activations_that_overflow_name_the_layer() -> None:
    net = Inside(nn.Conv2d(4, 4, 1))
    with torch.no_grad():
        net.stem.weight.fill_(1e30)
        net.block[1].weight.fill_(1e30)
    with pytest.raises(ExportError, match=r"layer 'block\.1' gives infinite"):
        export_int8(net, IMAGES.abs())


@pytest.mark.parametrize(
    "calibration",
    [torch.zeros(0, 3, 8, 8), torch.zeros(3, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.float64)],
    ids=["empty", "three axes", "float64"],
)
def test_calibration_of_another_form_is_refused(calibration: Tensor) -> None:
    with pytest.raises(ExportError, match="calibration must be"):
        export_int8(Inside(nn.ReLU()), calibration)


def test_channels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ExportError, match="5 input channels"):
        export_int8(Inside(nn.ReLU()), torch.zeros(2, 5, 8, 8))


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (0.0, float("inf")), (2.0, -2.0)])
def test_impossible_input_range_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ExportError, match="input_range"):
        export_int8(Inside(nn.ReLU()), IMAGES, input_range=bounds)


def test_second_input_is_refused_and_optional_one_is_frozen() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    class Optional(nn.Module):
        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            return torch.relu(x if mask is None else x * mask)

    with pytest.raises(ExportError, match="one input"):
        export_int8(Two(), IMAGES)
    assert export_int8(Optional(), IMAGES) == export_int8(Apply(torch.relu), IMAGES)
