"""Each proxy against its published formula, written out naively on tiny nets."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from hilnas.proxies import PROXIES, WORST, score
from hilnas.proxies.gradients import grad_norm, snip, zico
from hilnas.proxies.jacobian import jacob_cov
from hilnas.proxies.naswot import naswot
from hilnas.proxies.size import macs, parameters
from hilnas.proxies.synflow import synflow
from hilnas.spaces.mbconv import MBConv
from hilnas.tasks.training import Batch
from tests.unit.proxies.nets import Functional, Plain, batch, forward, gradients


def test_grad_norm_is_the_sum_of_the_layers_norms():
    net, data = Plain(), batch()
    expected = sum(math.sqrt((g**2).sum()) for g in gradients(net, data))
    assert grad_norm(net, [data]) == pytest.approx(expected, rel=1e-6)


def test_snip_is_what_the_loss_would_lose_with_each_weight():
    net, data = Plain(), batch()
    weights = [net.conv.weight.detach().numpy(), net.linear.weight.detach().numpy()]
    expected = sum(np.abs(w * g).sum() for w, g in zip(weights, gradients(net, data), strict=True))
    assert snip(net, [data]) == pytest.approx(expected, rel=1e-6)


def test_zico_is_the_inverse_coefficient_of_variation_of_gradients():
    net, data = Plain(), [batch(seed=seed) for seed in range(3)]
    of_batches = [gradients(net, each) for each in data]
    expected = 0.0
    for layer in range(2):
        total = 0.0
        for index in np.ndindex(*of_batches[0][layer].shape):
            values = [found[layer][index] for found in of_batches]
            mean = sum(values) / 3
            deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 3)
            total += sum(abs(value) for value in values) / 3 / deviation
        expected += math.log(total)
    assert zico(net, data) == pytest.approx(expected, rel=1e-5)


def test_zico_needs_two_batches():
    told = score("zico", Plain(), [batch()])
    assert told.value == WORST
    assert "two at least" in told.reason
    assert "no gradient differs" in score("zico", Plain(), [batch(), batch()]).reason


def test_jacob_cov_is_of_the_correlation_of_jacobians():
    net, data, step = Plain(), batch(4), 1e-6
    weights = net.conv.weight.detach(), net.linear.weight.detach()
    images = data.inputs.numpy()
    rows = np.zeros((4, 16))
    for example, row, column in product(range(4), range(4), range(4)):
        moved = []
        for sign in (1, -1):
            changed = images.copy()
            changed[example, 0, row, column] += sign * step
            moved.append(forward(net, *weights, changed)[0].sum())
        rows[example, row * 4 + column] = (moved[0] - moved[1]) / (2 * step)
    centred = rows - rows.mean(1, keepdims=True)
    norms = np.sqrt((centred**2).sum(1))
    correlation = centred @ centred.T / np.outer(norms, norms)
    eigenvalues = np.linalg.eig(correlation)[0].real
    expected = -sum(math.log(v + 1e-5) + 1 / (v + 1e-5) for v in eigenvalues)
    assert jacob_cov(net, [data]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", [Plain, Functional])
def test_naswot_counts_the_units_on_which_examples_agree(kind):
    net, data = kind(), batch(4)
    _, hidden = forward(net, net.conv.weight.detach(), net.linear.weight.detach(), data.inputs)
    codes = (hidden > 0).reshape(4, -1)
    kernel = np.array([[sum(a == b for a, b in zip(x, y, strict=True)) for y in codes] for x in codes])
    assert naswot(net, [data]) == pytest.approx(math.log(abs(np.linalg.det(kernel))), rel=1e-9)


@pytest.mark.parametrize(
    "activation", [nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU, nn.PReLU, nn.LeakyReLU, nn.ELU]
)
def test_bent_relus_are_coded_by_their_sign_and_gates_are_not(activation):
    data = batch(4)
    plain, bent = Plain(), Plain(activation)
    assert naswot(bent, [data]) == naswot(plain, [data])
    gated = nn.Sequential(plain, nn.Sigmoid(), nn.Hardsigmoid())
    assert naswot(gated, [data]) == naswot(plain, [data])
    assert "no activation" in score("naswot", Plain(nn.Sigmoid), [data]).reason


@pytest.mark.parametrize(
    "called",
    [
        functional.relu, torch.relu, torch.Tensor.relu, torch.Tensor.relu_, functional.relu6, functional.hardtanh,
        lambda x: functional.relu(input=x, inplace=True), lambda x: x.clamp(0, 6), lambda x: torch.clamp(x, min=0),
        lambda x: x.clamp_min(0), functional.hardswish,
    ],
)  # fmt: skip
def test_activations_are_seen_however_they_are_called(called):
    class Calling(nn.Module):
        def forward(self, values):
            return called(values)

    data = batch(4)
    assert naswot(Plain(Calling), [data]) == naswot(Plain(), [data])
    assert synflow(Plain(Calling), [data]) == synflow(Plain(), [data])


def test_naswot_of_examples_alike_is_the_worst():
    data = batch(4)
    alike = Batch(data.inputs[[0, 0, 1, 2]], data.labels)
    told = score("naswot", Plain(), [alike])
    assert told.value == WORST
    assert "same code" in told.reason


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.Hardswish])
def test_synflow_is_the_flow_along_all_paths(activation):
    net = Plain(activation)
    conv, matrix = (np.abs(w.detach().numpy()) for w in (net.conv.weight, net.linear.weight))
    # A path takes a pixel of ones through a weight of the kernel and one of the matrix; each of its two weights
    # counts its whole flow. Biases of the matrix take part in no path that ends in a weight.
    flow = 0.0
    for channel, row, column, above, left, output in product(
        range(3), range(2), range(2), range(3), range(3), range(2)
    ):
        flow += conv[channel, 0, above, left] * matrix[output, channel * 4 + row * 2 + column]
    assert synflow(net, [batch()]) == pytest.approx(math.log(2 * flow), rel=1e-12)


def test_synflow_does_not_saturate_nor_overflow_in_deep_nets():
    torch.manual_seed(0)
    layers = [layer for _ in range(40) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU6())]
    for layer in layers[::2]:
        layer.weight.data.mul_(20)
    inputs = torch.zeros(2, 8, 6, 6)
    told = score("synflow", nn.Sequential(*layers), [Batch(inputs, torch.zeros(2, dtype=torch.int64))])
    assert told.reason == ""
    assert told.value > math.log(torch.finfo(torch.float32).max)


def test_synflow_says_when_nothing_flows():
    net = Plain()
    net.conv.weight.data.zero_()
    net.linear.weight.data.zero_()
    assert "ran dry" in score("synflow", net, [batch()]).reason


def test_sizes_are_counted():
    net = Plain()
    assert parameters(net, [batch()]) == 27 + 3 + 3 + 24 + 2
    assert macs(net, [batch()]) == 3 * 4 * 9 + 24


@pytest.mark.parametrize("seed", range(5))
def test_macs_are_those_that_the_space_tells(seed):
    space = MBConv((1, 32, 32), 10)
    architecture = space.sample(np.random.default_rng(seed))
    inputs = torch.zeros(2, *space.input_shape(architecture))
    found = macs(space.build(architecture), [Batch(inputs, torch.zeros(2, dtype=torch.int64))])
    assert found == space.features(architecture)["macs"]


@pytest.mark.parametrize("name", PROXIES)
def test_the_module_stays_as_it_is_and_the_score_the_same(name):
    net, data = Plain(), [batch(seed=0), batch(seed=1)]
    net.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    first = score(name, net, data)
    assert score(name, net, data) == first
    assert first.reason == ""
    assert not net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", sorted(set(PROXIES) - {"parameters", "macs", "synflow"}))
def test_what_is_no_number_is_the_worst_and_says_why(name):
    net = Plain()
    net.conv.weight.data.fill_(math.nan)
    told = score(name, net, [batch(seed=0), batch(seed=1)])
    assert told.value == WORST
    assert told.reason


def test_dropout_has_no_say():
    net, data = Plain(), [batch(seed=0), batch(seed=1)]
    dropped = nn.Sequential(net, nn.Dropout(0.5))
    for name in sorted(set(PROXIES) - {"macs"}):
        assert score(name, dropped, data) == score(name, net, data)


def test_weights_that_the_net_does_not_use_count_for_nothing():
    net, data = Plain(), [batch(seed=0), batch(seed=1)]
    before = {name: score(name, net, data) for name in PROXIES}
    net.idle = nn.Linear(3, 3, bias=False).double()
    after = {name: score(name, net, data) for name in PROXIES}
    assert after.pop("parameters").value == before.pop("parameters").value + 9
    assert after == before
