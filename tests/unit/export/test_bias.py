"""Bias correction: outputs of the int8 file are right on average, channel by channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hilnas.export import Int8Model, QuantizationOptions, agreement, export_int8
from tests.unit.export.nets import Cells, MobileNetV2, settled

IMAGES = torch.rand(48, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def lopsided(layer: nn.Module) -> nn.Module:
    """A layer with weights just below half a step, so that rounding makes all of them zero but the largest."""
    with torch.no_grad():
        weight = layer.weight
        weight.fill_(0.45 / 127)
        weight.view(len(weight), -1)[:, 0] = 1.0
    return layer


NETS = {
    "convolution": lambda: nn.Sequential(lopsided(nn.Conv2d(4, 6, 3)), nn.Flatten()),
    "depthwise": lambda: nn.Sequential(lopsided(nn.Conv2d(4, 4, 5, groups=4)), nn.Flatten()),
    "linear": lambda: nn.Sequential(nn.Flatten(), lopsided(nn.Linear(256, 5))),
    "one after the other": lambda: nn.Sequential(
        lopsided(nn.Conv2d(4, 6, 3)), nn.ReLU(), lopsided(nn.Conv2d(6, 3, 3)), nn.Flatten()
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_what_rounded_weights_add_on_average_is_taken_back(name: str) -> None:
    torch.manual_seed(0)
    net = NETS[name]()
    with torch.no_grad():
        exact = net(IMAGES).numpy()

    def mean_error(bias_correction: bool) -> float:
        model = export_int8(net, IMAGES, options=QuantizationOptions(bias_correction=bias_correction))
        return float(np.abs(np.mean(Int8Model(model).predict(IMAGES.numpy()) - exact)))

    assert mean_error(True) < mean_error(False) / 8


def test_the_module_and_what_is_sound_already_stay_as_they_are() -> None:
    images = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    corrected = QuantizationOptions(bias_correction=True)
    for build in (MobileNetV2, Cells):
        torch.manual_seed(0)
        net = settled(build(), images)
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        model = export_int8(net, images, options=corrected)
        assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
        assert agreement(net, model, images).relative_rmse < 0.1
        assert model == export_int8(net, images, options=corrected)


def test_pooling_written_as_a_convolution_is_not_corrected() -> None:
    net = nn.Sequential(nn.AvgPool2d(3), nn.Flatten())
    assert export_int8(net, IMAGES, options=QuantizationOptions(bias_correction=True)) == export_int8(
        net, IMAGES
    )
