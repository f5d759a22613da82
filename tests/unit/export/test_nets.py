"""Whole networks: close to torch, one XNNPACK partition, and as accurate as in float once trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm

from hilnas.export import Int8Model, agreement, check_int8, export_int8
from tests.unit.export.nets import Cells, MobileNetV2, MobileNetV3, PlainCnn, settled

NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "mobilenet-v2": (MobileNetV2, (3, 32, 32)),
    "mobilenet-v2-odd": (MobileNetV2, (3, 33, 27)),
    "mobilenet-v2-speech": (lambda: MobileNetV2(12, channels=1), (1, 49, 40)),
    "mobilenet-v3": (MobileNetV3, (3, 32, 32)),
    "mobilenet-v3-speech": (lambda: MobileNetV3(12, channels=1), (1, 49, 40)),
    "plain": (PlainCnn, (3, 16, 16)),
    "plain-oblong": (lambda: PlainCnn(1, (20, 13)), (1, 20, 13)),
    "cells": (Cells, (3, 16, 16)),
}


def images(shape: tuple[int, ...], count: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> tuple[nn.Module, tuple[int, int, int]]:
    torch.manual_seed(0)
    build, shape = NETS[request.param]
    return settled(build(), images(shape, 64)), shape


@pytest.mark.parametrize("runtime", ["ai-edge-litert", "tflite-runtime"])
def test_int8_follows_float_on_images_not_calibrated_on(
    net: tuple[nn.Module, tuple[int, int, int]], runtime: str
) -> None:
    module, shape = net
    model = export_int8(module, images(shape))
    check_int8(model)
    # Random weights give near-ties and large ratios of noise to signal; trained ones are tighter, below.
    assert agreement(module, model, images(shape, seed=1), runtime).relative_rmse < 0.15


def test_everything_is_one_xnnpack_partition(net: tuple[nn.Module, tuple[int, int, int]]) -> None:
    module, shape = net
    model = export_int8(module, images(shape, 8))
    assert Int8Model(model).delegate_partitions == 1
    assert not Int8Model(model, runtime="tflite-runtime").delegated


def test_same_module_and_images_give_the_same_bytes(net: tuple[nn.Module, tuple[int, int, int]]) -> None:
    module, shape = net
    assert export_int8(module, images(shape)) == export_int8(module, images(shape))


def test_module_is_left_as_it_was() -> None:
    net = MobileNetV3()
    net.features[0].eval()
    modes = [module.training for module in net.modules()]
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    export_int8(net, images((3, 32, 32), 4))
    assert [module.training for module in net.modules()] == modes
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def test_training_mode_does_not_matter() -> None:
    torch.manual_seed(0)
    net = settled(MobileNetV2(), images((3, 32, 32)))
    assert export_int8(net, images((3, 32, 32))) == export_int8(net.train(), images((3, 32, 32)))


def test_weights_that_torch_derives_are_read_as_they_are_now() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), spectral_norm(nn.Conv2d(6, 4, 1)), nn.Flatten())
    prune.l1_unstructured(net[0], "weight", 0.5)
    with torch.no_grad():
        net[0].weight_orig.mul_(3.0)  # as an optimizer's step does, after the last forward
    batch = images((3, 6, 6))
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    model = export_int8(net.train(), batch)
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert agreement(net, model, batch).relative_rmse < 0.03


def test_input_range_is_kept_to_and_description_is_written() -> None:
    net = settled(PlainCnn(), images((3, 16, 16)))
    model = export_int8(net, images((3, 16, 16)), input_range=(-2.0, 3.1), description="a plain net")
    details = Int8Model(model)._interpreter.get_input_details()[0]
    scale, zero_point = details["quantization"]
    assert scale == pytest.approx(5.1 / 255)
    assert (zero_point + 128) * scale == pytest.approx(2.0)
    assert b"a plain net" in model


def test_hard_activations_are_written_in_delegated_forms() -> None:
    net = settled(MobileNetV3(), images((3, 32, 32)))
    ops = check_int8(export_int8(net, images((3, 32, 32)))).ops
    assert set(ops) == {
        "PAD",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "ADD",
        "MUL",
        "MEAN",
        "RESHAPE",
        "FULLY_CONNECTED",
    }
    # Two operators a hard-swish, one product a squeeze-and-excitation, none for a hard-sigmoid.
    hardswishes, gates = 9, 3
    assert ops.count("MUL") == hardswishes + gates


def _trained(net: nn.Module, inputs: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs), generator=generator).split(50):
            optimizer.zero_grad()
            functional.cross_entropy(net.train()(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    return net.eval()


@pytest.mark.parametrize(
    ("build", "epochs"), [(lambda: MobileNetV3(channels=1), 5), (lambda: PlainCnn(1), 6)], ids=["v3", "plain"]
)
def test_trained_on_digits_int8_is_as_accurate(build: Callable[[], nn.Module], epochs: int) -> None:
    data = load_digits()
    inputs = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    inputs = functional.interpolate(inputs, (16, 16), mode="bilinear")
    labels = torch.tensor(data.target)
    torch.manual_seed(0)
    net = _trained(build(), inputs[:1200], labels[:1200], epochs)
    model = export_int8(net, inputs[:32].contiguous(), input_range=(0.0, 1.0))
    with torch.no_grad():
        exact = float((net(inputs[1200:]).argmax(1) == labels[1200:]).float().mean())
    logits = Int8Model(model).predict(inputs[1200:].numpy())
    int8 = float(np.mean(logits.argmax(axis=1) == labels[1200:].numpy()))
    assert exact > 0.8
    assert abs(int8 - exact) <= 0.01
    assert agreement(net, model, inputs[1200:]).relative_rmse < 0.06
