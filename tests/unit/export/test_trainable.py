"""Quantization-aware training: what is trained is what the file computes, and it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from hilnas.export import (
    ExportError,
    Int8Model,
    QuantizationOptions,
    TrainableInt8,
    UnsupportedModuleError,
    agreement,
    check_int8,
    export_int8,
    trainable_int8,
)
from hilnas.export.ir import Op
from hilnas.export.lower import lower
from hilnas.export.options import Ranges
from hilnas.export.rounding import fake_quantize, straight_through
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from tests.unit.export.cases import CASES, Apply
from tests.unit.export.nets import Cells, MobileNetV2, MobileNetV3, PlainCnn, settled
from tests.unit.export.test_random_nets import MODEST, networks

IMAGES = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
UNSEEN = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def a_few_steps(net: TrainableInt8, images: Tensor, steps: int = 5) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(steps):
        logits = net.train()(images)
        labels = torch.randint(0, logits.shape[1], (len(images),), generator=generator)
        optimizer.zero_grad()
        functional.cross_entropy(logits, labels).backward()
        optimizer.step()
    net.eval()


def assert_file_computes_the_same(net: TrainableInt8, images: Tensor) -> None:
    model = Int8Model(net.to_int8())
    with torch.no_grad():
        simulated = net(images).numpy()
    given = model.predict(images.numpy())
    steps = np.abs(given - simulated) / model._output_scale
    assert steps.max() < 4
    assert np.mean(steps < 1.5) > 0.97
    same = given.argmax(1) == simulated.argmax(1)
    assert (
        np.mean(same) > 0.95 or np.ptp(np.sort(simulated, 1)[~same, -2:], 1).max() < 3 * model._output_scale
    )


def sigmoids(x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
    y = functional.silu(a(x))
    z = torch.cat([y, torch.sigmoid(y), x], 1) * 0.7 + 0.1
    return b(functional.avg_pool2d(z, 3, 2)).clamp(-1.5, 2).flatten(1)


NETS = {
    "mobilenet-v2": MobileNetV2,
    "mobilenet-v3": MobileNetV3,
    "plain": PlainCnn,
    "cells": Cells,
    "sigmoids": lambda: Apply(sigmoids, a=nn.Conv2d(3, 4, 3, 1, 1), b=nn.Conv2d(11, 3, 5)),
}


def test_what_training_ruined_is_not_written() -> None:
    net = trainable_int8(settled(PlainCnn(), IMAGES), IMAGES)
    with torch.no_grad():
        net.layers[1].weight[0, 0] = torch.nan
    with pytest.raises(ExportError, match=r"layer 'features\.3'; train again"):
        net.to_int8()


@pytest.mark.parametrize("name", NETS)
def test_the_file_computes_what_was_trained(name: str) -> None:
    torch.manual_seed(0)
    net = trainable_int8(settled(NETS[name](), IMAGES), IMAGES, input_range=(-4.0, 4.0))
    assert_file_computes_the_same(net.eval(), UNSEEN)
    before = net.to_int8()
    a_few_steps(net, IMAGES)
    assert_file_computes_the_same(net, UNSEEN)
    after = net.to_int8()
    assert after != before
    assert after == net.to_int8()
    assert check_int8(after).ops == check_int8(before).ops
    assert Int8Model(after)._input_scale == pytest.approx(8 / 255)


def test_any_architecture_of_mbconv_trains_as_it_ships() -> None:
    space = MBConv((3, 16, 16), 10, MBConvOptions(resolutions=[1.0], head_width=32))
    generator = np.random.default_rng(0)
    seen = set()
    for _ in range(6):
        architecture = space.sample(generator)
        seen |= {(name.rsplit(".", 1)[-1], value) for name, value in architecture.decisions}
        torch.manual_seed(0)
        net = trainable_int8(settled(space.build(architecture), IMAGES), IMAGES)
        a_few_steps(net, IMAGES[:16], 2)
        assert_file_computes_the_same(net, UNSEEN[:16])
    for what in (("kernel", 3), ("kernel", 5), ("kernel", 7), ("se", True), ("activation", "relu6"), ("activation", "hswish")):  # fmt: skip
        assert what in seen


@settings(MODEST, max_examples=15)
@given(networks(), st.sampled_from(["minmax", "percentile", "mse"]), st.booleans())
def test_any_network_trains_as_it_ships(
    case: tuple[nn.Module, Tensor], ranges: Ranges, bias_correction: bool
) -> None:
    module, images = case
    options = QuantizationOptions(ranges, 99.9, bias_correction)
    net = trainable_int8(module, images, options=options)
    a_few_steps(net, images, 1)
    model = Int8Model(net.to_int8())
    assert model.delegate_partitions == 1
    with torch.no_grad():
        steps = np.abs(model.predict(images.numpy()) - net(images).numpy()) / model._output_scale
    assert steps.max() < 4
    assert steps.mean() < 0.5
    assert agreement(module, export_int8(module, images, options=options), images).relative_rmse < 0.35


def test_before_training_it_is_the_exported_net() -> None:
    torch.manual_seed(0)
    net = settled(MobileNetV3(), IMAGES)
    for options in (QuantizationOptions(), QuantizationOptions("percentile", bias_correction=True)):
        begun, exported = (
            Int8Model(model).predict(UNSEEN.numpy())
            for model in (trainable_int8(net, IMAGES, options=options).to_int8(), export_int8(net, IMAGES, options=options))
        )  # fmt: skip
        assert np.abs(begun - exported).mean() < 0.01 * np.abs(exported).mean()


def test_the_module_stays_as_it_was() -> None:
    net = settled(MobileNetV3(), IMAGES).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    a_few_steps(trainable_int8(net, IMAGES), IMAGES, 1)
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_every_weight_and_free_step_learns_and_pooling_does_not() -> None:
    torch.manual_seed(0)
    net = trainable_int8(settled(Cells(), IMAGES), IMAGES, input_range=(-4.0, 4.0))
    learned = [m for m in Cells().modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(net.layers) == len(learned)
    functional.cross_entropy(net.train()(IMAGES), torch.zeros(len(IMAGES), dtype=torch.long)).backward()
    assert all(p.grad is not None and p.grad.any() for p in net.layers.parameters())
    free = net._free.bool()
    assert (net.log_steps.grad[free] != 0).all()
    assert not net.log_steps.grad[~free].any()
    assert (~free).sum() >= 1


def test_the_step_size_has_the_gradient_of_a_learned_one() -> None:
    x = torch.tensor([-9.0, -0.3, 0.24, 0.26, 1.1, 70.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    stored = fake_quantize(x, scale, -118)
    assert stored.tolist() == [-5.0, -0.5, 0.0, 0.5, 1.0, 70.0]
    stored.backward(torch.tensor([1.0, 10.0, 100.0, 1e3, 1e4, 1e5]))
    assert x.grad.tolist() == [0.0, 10.0, 100.0, 1e3, 1e4, 1e5]
    # Esser et al., eq. 3: the end itself where x lies beyond it, else what rounding adds, in steps.
    wanted = -10 + 10 * (-1 + 0.6) + 100 * (0 - 0.48) + 1e3 * (1 - 0.52) + 1e4 * (2 - 2.2)
    assert scale.grad.item() == pytest.approx(wanted, rel=1e-4)


def test_rounding_lets_the_gradient_through() -> None:
    x = torch.tensor([0.2, 1.7], requires_grad=True)
    rounded = straight_through(x, x.detach().round())
    rounded.backward(torch.tensor([3.0, 4.0]))
    assert rounded.tolist() == [0.0, 2.0]
    assert x.grad.tolist() == [3.0, 4.0]


def test_what_cannot_be_exported_cannot_be_trained_either() -> None:
    with pytest.raises(UnsupportedModuleError, match="GELU"):
        trainable_int8(nn.Sequential(nn.Conv2d(3, 3, 1), nn.GELU()), IMAGES)


def fit(net: nn.Module, inputs: Tensor, labels: Tensor, learning_rate: float, epochs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), learning_rate)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - epoch / epochs)
        for batch in torch.randperm(len(inputs), generator=generator).split(50):
            optimizer.zero_grad()
            functional.cross_entropy(net(inputs[batch]), labels[batch]).backward()
            optimizer.step()


def test_training_makes_up_for_weights_that_rounding_takes_away() -> None:
    """The corner of a digit is always blank: a huge weight there changes nothing but what int8 is left with."""
    data = load_digits()
    inputs, labels = torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)
    assert not inputs[:, 0].any()
    (seen, unseen), (known, wanted) = inputs.split(1200), labels.split(1200)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    fit(net, seen, known, 5e-3, 8)

    def accuracy(model: bytes) -> float:
        return float(np.mean(Int8Model(model).predict(unseen.numpy()).argmax(1) == wanted.numpy()))

    with torch.no_grad():
        exact = float((net(unseen).argmax(1) == wanted).float().mean())
        net[0].weight[:, 0] = 60.0
    plain = accuracy(export_int8(net, seen[:100]))
    assert plain < exact - 0.05
    corrected = export_int8(net, seen[:100], options=QuantizationOptions(bias_correction=True))
    assert accuracy(corrected) > plain + 0.03
    with torch.no_grad():
        net[0].weight[:, 0] = 120.0
    assert accuracy(export_int8(net, seen[:100])) < 0.5
    tuned = trainable_int8(net, seen[:100])
    fit(tuned, seen, known, 1e-3, 5)
    assert accuracy(tuned.to_int8()) > exact - 0.05
    again = trainable_int8(net, seen[:100])
    fit(again, seen, known, 1e-3, 5)
    assert again.to_int8() == tuned.to_int8()


@pytest.mark.parametrize("name", ["squeeze-excite-linear", "cat-gains", "scale-shift", "f-conv-linear"])
def test_constants_are_where_the_inputs_are(name: str) -> None:
    """On a GPU that is not there: tensors without content, whose operations still refuse to mix places."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    build, shape = CASES[name]
    graph = lower(build().eval(), (1, *shape))
    with FakeTensorMode(allow_non_fake_inputs=True):
        own = [op for op in graph.ops if type(op).simulate is not Op.simulate]
        assert own
        for op in own:
            inputs = [torch.empty(2, *value.shape[1:], device="cuda") for value in op.inputs]
            assert op.simulate(inputs, 0.1, 0.2).device.type == "cuda"
