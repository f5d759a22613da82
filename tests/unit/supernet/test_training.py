"""Training a supernet: it learns, it goes on exactly, and it says what is wrong."""

import numpy as np
import pytest
import torch

from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.supernet.options import SupernetTraining
from hilnas.supernet.training import Training
from hilnas.tasks.digits import Digits, DigitsOptions
from hilnas.tasks.training import TrainingError, float_accuracy, prepare, recalibrate

TASK = Digits(DigitsOptions(size=16, training_examples=640))
SPACE = MBConv(
    TASK.shape,
    TASK.classes,
    MBConvOptions(
        resolutions=[0.75, 1.0],
        kernels=[3, 5],
        stage_widths=[[8, 12], [12, 16]],
        stage_depths=[[1], [1, 2]],
        stage_strides=[1, 2],
        expansions=[1, 2],
        head_width=32,
    ),
)


def _training(sampling="sandwich", seed=0, **options):
    settings = {"epochs": 2, "batch": 64, "paths": 1, **options}
    return Training(SPACE, TASK, SupernetTraining(sampling=sampling, **settings), seed)


def _state(training):
    return training.weights.module.state_dict()


def _accuracy(training, architecture):
    net = training.weights.extract(architecture)
    size = SPACE.input_shape(architecture)[1:]
    recalibrate(net, prepare(TASK, TASK.split("train"), size), 0)
    return float_accuracy(net, prepare(TASK, TASK.split("validation"), size))


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_all_its_nets_learn():
    training = _training(epochs=10, learning_rate=0.01)
    training.run()
    generator = np.random.default_rng(0)
    nets = [*SPACE.extremes(), *(SPACE.sample(generator) for _ in range(3))]
    accuracies = [_accuracy(training, net) for net in nets]
    assert min(accuracies) > 0.2  # chance is 0.1; nets between the ends take longer
    assert accuracies[1] > 0.8


@pytest.mark.parametrize("sampling", ["sandwich", "shrinking", "uniform", "fair"])
def test_a_training_that_was_broken_off_ends_as_one_that_was_not(sampling):
    whole = _training(sampling)
    whole.run()
    for stop in (3, 15):
        first = _training(sampling)
        first.run(until=stop)
        second = _training(sampling)
        assert second.restore(first.checkpoint())
        assert second.step == stop
        second.run()
        assert all(torch.equal(tensor, _state(whole)[name]) for name, tensor in _state(second).items())


def test_checkpoints_of_others_and_torn_ones_are_not_taken():
    first = _training()
    first.run(until=2)
    content = first.checkpoint()
    for other in (_training(seed=1), _training("uniform"), _training(epochs=3)):
        assert not other.restore(content)
        assert other.step == 0
    same = _training()
    assert not same.restore(content[: len(content) // 2])
    assert not same.restore(b"nonsense")
    fresh = _training()
    assert all(torch.equal(tensor, _state(fresh)[name]) for name, tensor in _state(same).items())


def test_a_loss_that_is_no_number_is_told():
    training = _training(learning_rate=1e30)
    with pytest.raises(TrainingError, match="lower learning_rate"):
        training.run()


def test_it_tells_how_far_it_is():
    told = []
    training = _training()
    training.run(told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
