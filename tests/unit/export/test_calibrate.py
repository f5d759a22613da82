"""Ranges: extrapolated to images not seen, within what an operator can give, the same for any chunk."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hilnas.export import calibrate
from hilnas.export.lower import lower
from tests.unit.export.nets import MobileNetV3, settled

IMAGES = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_range_of_few_images_is_close_to_that_of_many() -> None:
    torch.manual_seed(0)
    graph = lower(nn.Conv2d(3, 8, 3), (1, 3, 16, 16))
    # Brightness varies between images, so a small sample misses the extremes.
    many = torch.randn(256, 3, 16, 16) * torch.linspace(0.5, 2, 256)[torch.randperm(256)][:, None, None, None]
    low, high = calibrate.ranges(graph, many)[graph.output]
    few_low, few_high = calibrate.ranges(graph, many[:24])[graph.output]
    with torch.no_grad():
        seen = graph.ops[0].evaluate(many[:24])
    assert few_high > seen.max().item()
    assert few_low < seen.min().item()
    assert few_high == pytest.approx(high, rel=0.35)
    assert few_low == pytest.approx(low, rel=0.35)


def test_many_images_are_taken_at_their_word_and_so_is_the_input() -> None:
    graph = lower(nn.Sequential(nn.Conv2d(3, 4, 1)), (1, 3, 4, 4))
    images = torch.randn(300, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    found = calibrate.ranges(graph, images)
    with torch.no_grad():
        result = graph.ops[0].evaluate(images)
    assert found[graph.output] == pytest.approx((result.min().item(), result.max().item()))
    assert calibrate.ranges(graph, images[:9])[graph.input] == (
        images[:9].min().item(),
        images[:9].max().item(),
    )


def test_ranges_stay_within_what_an_activation_can_give() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Conv2d(4, 4, 1), nn.ReLU())
    graph = lower(layers, (1, 3, 16, 16))
    found = calibrate.ranges(graph, 20 * IMAGES)
    assert found[graph.ops[0].output] == (0.0, 6.0)
    assert found[graph.ops[1].output][0] == 0.0
    assert found[graph.ops[1].output][1] < math.inf


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    graph = lower(settled(MobileNetV3(), IMAGES), (1, 3, 16, 16))
    whole = calibrate.ranges(graph, IMAGES)
    monkeypatch.setattr(calibrate, "_CHUNK", 7)
    for value, bounds in calibrate.ranges(graph, IMAGES).items():
        assert bounds == pytest.approx(whole[value], rel=1e-4, abs=1e-4)
