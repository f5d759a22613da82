"""Compound scaling: nets grow as they should, and the largest that keeps to a target is found."""

import asyncio
import math

import numpy as np
import pytest
import torch

from hilnas.search.scaling import Compound, Family, operations
from hilnas.spaces import SpaceError
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.spaces.mbconv_scaling import scaled_channels

SPACE = MBConv((1, 28, 28), 10, MBConvOptions())
BASE = SPACE.sample(np.random.default_rng(3))


def _family(latency):
    calls = []

    async def measure(space, net):
        calls.append(net)
        return latency(space.features(net)["macs"])

    return Family(SPACE, BASE, Compound(), measure), calls


def test_a_net_that_is_scaled_by_one_computes_the_same():
    space, net = SPACE.scaled(BASE, 1.0, 1.0, 1.0)
    assert space.size == len(space.decisions[0].choices) == 1 or space.check(net) == net
    assert space.features(net) == SPACE.features(BASE)
    assert space.input_shape(net) == SPACE.input_shape(BASE)


@pytest.mark.parametrize("phi", [-2, -0.5, 0.7, 1, 2, 3.3])
def test_scaled_nets_can_be_built_and_grow_in_every_way(phi):
    depth, width, resolution = Compound().factors(phi)
    space, net = SPACE.scaled(BASE, depth, width, resolution)
    shape = space.input_shape(net)
    logits = space.build(net).eval()(torch.zeros(1, *shape))
    assert logits.shape == (1, 10)
    ratio = space.features(net)["macs"] / SPACE.features(BASE)["macs"]
    assert (ratio > 1) == (phi > 0)
    assert shape[1] == round(SPACE.input_shape(BASE)[1] / 28 * resolution * 28)


def test_phi_of_one_is_about_twice_the_operations():
    large = MBConv((3, 224, 224), 10, MBConvOptions(resolutions=[1.0], stage_depths=[[4], [6], [6]],
                   stage_widths=[[64], [96], [128]], stem_widths=[64]))  # fmt: skip
    base = large.sample(np.random.default_rng(0))
    space, net = large.scaled(base, *Compound().factors(1))
    assert 1.6 < space.features(net)["macs"] / large.features(base)["macs"] < 2.8


def test_channels_keep_to_multiples_and_never_fall_short():
    for channels in (4, 8, 12, 24, 96):
        for factor in np.linspace(0.3, 3, 28):
            found = scaled_channels(channels, factor)
            assert found % (8 if channels % 8 == 0 else 4) == 0
            assert found >= 0.9 * channels * factor


@pytest.mark.parametrize("share", [0.1, 0.4, 1.0, 3.0, 40.0])
def test_the_largest_within_a_target_is_found(share):
    family, calls = _family(lambda macs: macs / 1e6)
    target = share * SPACE.features(BASE)["macs"] / 1e6
    member = asyncio.run(family.largest_within(target))
    assert member.latency_ms <= target
    assert member.latency_ms > 0.5 * target  # channels and layers come in steps
    assert operations(member) / 1e6 == pytest.approx(member.latency_ms)
    assert len(calls) == len(set(calls)) <= 20


def test_one_size_is_measured_once_for_all_targets():
    family, calls = _family(lambda macs: macs / 1e6)

    async def all_targets():
        return [await family.largest_within(target) for target in (1.0, 2.0, 1.0, 4.0)]

    found = asyncio.run(all_targets())
    assert found[0] == found[2]
    assert [one.latency_ms for one in found[:2]] == sorted(one.latency_ms for one in found[:2])
    assert len(calls) == len(set(calls))


def test_a_target_out_of_reach_has_no_net():
    family, _ = _family(lambda macs: 1.0)
    assert asyncio.run(family.largest_within(0.5)) is None
    family, _ = _family(lambda macs: math.inf)
    assert asyncio.run(family.largest_within(0.5)) is None


def test_what_is_too_small_for_a_net_is_refused():
    with pytest.raises(SpaceError, match="too small"):
        SPACE.scaled(BASE, 1.0, 1.0, 0.1)
