"""Where and how precisely a training computes; what of it there is on a processor."""

import pytest
import torch

from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.strategies.enas.options import EnasOptions
from hilnas.strategies.enas.search import EnasSearch
from hilnas.supernet.options import SupernetTraining
from hilnas.supernet.training import Training
from hilnas.tasks.digits import Digits, DigitsOptions
from hilnas.tasks.placement import Placement, PlacementError
from hilnas.tasks.training import TrainingOptions, float_accuracy, prepare, recalibrate, train

TASK = Digits(DigitsOptions(size=16, training_examples=640))
SPACE = MBConv(
    TASK.shape,
    TASK.classes,
    MBConvOptions(
        resolutions=[1.0],
        kernels=[3],
        stage_widths=[[8], [16]],
        stage_depths=[[1], [1]],
        stage_strides=[1, 2],
    ),
)


def _trained(precision):
    options = TrainingOptions(epochs=5, batch=32, learning_rate=0.01, precision=precision)
    net = SPACE.extremes()[1]
    torch.manual_seed(0)
    module = SPACE.build(net)
    data = prepare(TASK, TASK.split("train"), SPACE.input_shape(net)[1:])
    train(module, TASK, data, options, 0)
    return module, data


def test_mixed_precision_learns_as_well_and_leaves_float32_weights():
    exact, data = _trained("float32")
    mixed, _ = _trained("bfloat16")
    assert all(tensor.dtype == torch.float32 for tensor in mixed.parameters())
    assert not torch.equal(exact.classifier.weight, mixed.classifier.weight)
    validation = prepare(TASK, TASK.split("validation"), (16, 16))
    accuracies = []
    for module in (exact, mixed):
        recalibrate(module, data, 0)
        accuracies.append(float_accuracy(module, validation))
    assert min(accuracies) > 0.7
    assert abs(accuracies[0] - accuracies[1]) < 0.1


@pytest.mark.parametrize("sampling", ["sandwich", "shrinking"])
def test_a_supernet_trains_in_mixed_precision(sampling):
    options = SupernetTraining(epochs=1, batch=64, paths=1, sampling=sampling, precision="bfloat16")
    training = Training(SPACE, TASK, options, 0)
    training.run()
    assert all(tensor.isfinite().all() for tensor in training.weights.module.state_dict().values())
    assert training.weights.module.net.stem.conv.weight.dtype == torch.float32


def test_enas_trains_in_mixed_precision():
    options = EnasOptions(
        weights_epochs=1, frozen_share=0, policy_steps=1, policy_batch=2, draws=4, precision="bfloat16"
    )
    search = EnasSearch(SPACE, TASK, options, 0, lambda net, accuracy: accuracy)
    search.run()
    assert all(tensor.isfinite().all() for tensor in search.weights.module.state_dict().values())
    assert search.weights.module.net.stem.conv.weight.dtype == torch.float32
    assert len(search.found()) == 4


def test_auto_is_exact_on_a_processor():
    placement = Placement("cpu")
    with placement.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    if not torch.cuda.is_available():
        assert Placement().device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(PlacementError, match='device "cuda:3" is not possible here'):
        _ = Placement("cuda:3").device
