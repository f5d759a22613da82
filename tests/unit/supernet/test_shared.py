"""Nets of a supernet: what is taken out computes what ran inside, and what runs trains the shared tensors."""

import numpy as np
import pytest
import torch

from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.supernet.shared import SharedWeights

SPACES = {
    "default": MBConvOptions(dropout=0.0),
    "no expansion": MBConvOptions(dropout=0.0, expansions=[1], squeeze_excite=[False]),
    "always expanded": MBConvOptions(dropout=0.0, expansions=[2, 3], kernels=[1, 5], stem_strides=[1, 2]),
    "unsorted": MBConvOptions(dropout=0.0, resolutions=[1.0, 0.75], kernels=[5, 3], expansions=[4, 1]),
}


@pytest.fixture(params=SPACES.values(), ids=SPACES.keys())
def space(request):
    return MBConv((1, 16, 16), 4, request.param)


def _drawn(space, count=4):
    generator = np.random.default_rng(0)
    return [*space.extremes(), *(space.sample(generator) for _ in range(count))]


def test_what_is_taken_out_computes_what_ran_inside(space):
    torch.manual_seed(0)
    shared = SharedWeights(space)
    for architecture in _drawn(space):
        images = torch.randn(4, *space.input_shape(architecture))
        net = shared.extract(architecture).train()
        torch.testing.assert_close(net(images), shared.run(architecture, images), rtol=1e-4, atol=1e-5)


def test_running_a_net_trains_its_pieces_and_leaves_the_rest(space):
    torch.manual_seed(0)
    shared = SharedWeights(space)
    smallest, _ = space.extremes()
    before = {name: tensor.clone() for name, tensor in shared.module.state_dict().items()}
    shared.run(smallest, torch.randn(4, *space.input_shape(smallest))).square().sum().backward()
    used = space.shares(smallest)
    for name, parameter in shared.module.named_parameters():
        pieces = [share.piece for share in used.values() if share.tensor == name]
        if not pieces:
            assert parameter.grad is None
            continue
        outside = parameter.grad.clone()
        outside[pieces[0]] = 0
        assert outside.abs().max() == 0
    after = shared.module.state_dict()
    moved = {name for name in after if name.endswith("running_mean") and not after[name].equal(before[name])}
    assert moved == {share.tensor for share in used.values() if share.tensor.endswith("running_mean")}


def test_dropout_is_for_whom_it_is_asked(space):
    options = space.options.model_copy(update={"dropout": 0.5})
    space = MBConv((1, 16, 16), 4, options)
    torch.manual_seed(0)
    shared, (_, largest) = SharedWeights(space), space.extremes()
    images = torch.randn(4, *space.input_shape(largest))
    plain = [shared.run(largest, images, dropout=False) for _ in range(2)]
    torch.testing.assert_close(*plain)
    assert not torch.equal(shared.run(largest, images), shared.run(largest, images))
