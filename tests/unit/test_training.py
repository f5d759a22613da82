import numpy as np
import pytest
import torch
from torch import nn

from hilnas.estimators.final import evaluate_final
from hilnas.estimators.train import Train, TrainOptions, binomial_se
from hilnas.export import check_int8
from hilnas.recipe import FinalOptions
from hilnas.search.work import export_provisional
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.tasks.digits import Digits, DigitsOptions
from hilnas.tasks.training import (
    Batch,
    TrainingError,
    TrainingOptions,
    augment,
    float_accuracy,
    prepare,
    recalibrate,
    train,
)

TASK = Digits(DigitsOptions(size=16))
SPACE = MBConv(TASK.shape, TASK.classes, MBConvOptions(resolutions=[1.0], kernels=[3]))
ARCHITECTURE = SPACE.sample(np.random.default_rng(1))


def test_a_candidate_learns_digits_and_keeps_it_in_int8():
    result = Train(TrainOptions(epochs=5, batch=32, learning_rate=0.01)).estimate(
        ARCHITECTURE, SPACE, TASK, 0
    )
    estimate = result.estimate
    assert estimate.accuracy > 0.85
    assert abs(estimate.accuracy - estimate.float_accuracy) < 0.03
    assert check_int8(result.model).input_shape == (1, 16, 16, 1)


def test_the_final_is_the_first_to_meet_the_test_split():
    final = evaluate_final(ARCHITECTURE, SPACE, TASK, FinalOptions(epochs=2, batch=32, learning_rate=0.01), 0)
    assert set(final.accuracies) == {
        "validation_accuracy", "validation_float_accuracy", "test_accuracy", "test_float_accuracy",
    }  # fmt: skip
    assert all(0.3 < share <= 1 for share in final.accuracies.values())
    assert len(final.weights) > len(final.quantized.model)


def test_low_resolution_estimates_train_on_less():
    result = Train(TrainOptions(epochs=1, subset=64, resolution=0.5)).estimate(ARCHITECTURE, SPACE, TASK, 0)
    assert check_int8(result.model).input_shape == (1, 8, 8, 1)


def test_provisional_models_are_the_same_whoever_exports_them():
    (first, facts), _ = export_provisional(ARCHITECTURE, SPACE, TASK)
    torch.manual_seed(99)
    (second, _), _ = export_provisional(ARCHITECTURE, SPACE, TASK)
    assert first == second
    assert facts.bytes == len(first)
    other = SPACE.sample(np.random.default_rng(2))
    assert export_provisional(other, SPACE, TASK)[0][0] != first


def test_a_diverging_training_is_named():
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    with torch.no_grad():
        module[1].weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="learning_rate"):
        train(module, TASK, prepare(TASK, TASK.split("train"), (16, 16)), TrainingOptions(epochs=1), 0)


def test_after_two_epochs_statistics_are_those_of_the_weights():
    torch.manual_seed(0)
    module, data = SPACE.build(ARCHITECTURE), prepare(TASK, TASK.split("train"), (16, 16))
    train(module, TASK, data, TrainingOptions(epochs=2), 0)
    lagging = float_accuracy(module, data)
    weights = [p.clone() for p in module.parameters()]
    recalibrate(module, data, 0)
    assert float_accuracy(module, data) > lagging + 0.3
    assert all(torch.equal(a, b) for a, b in zip(weights, module.parameters(), strict=True))
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.momentum == 0.1 and not norm.training for norm in norms)


def test_statistics_are_the_mean_over_batches():
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.9))
    data = Batch(torch.arange(256.0).reshape(256, 1, 1, 1).repeat(1, 1, 8, 8), torch.zeros(256))
    recalibrate(module, data, 0)
    assert module[0].running_mean.item() == pytest.approx(127.5)
    recalibrate(module, Batch(data.inputs[:50], data.labels[:50]), 0)
    assert module[0].running_mean.item() == pytest.approx(24.5)


def test_shifts_move_and_fill():
    inputs = torch.arange(1.0, 33.0).reshape(2, 1, 4, 4)
    moved = augment(inputs, 1, False, 0.0, torch.Generator().manual_seed(0))
    assert moved.shape == inputs.shape
    for before, after in zip(inputs, moved, strict=True):
        shifts = [
            torch.nn.functional.pad(before, (1, 1, 1, 1))[:, r : r + 4, c : c + 4]
            for r in range(3)
            for c in range(3)
        ]
        assert any(torch.equal(after, shifted) for shifted in shifts)


def test_flips_mirror_about_half():
    inputs = torch.arange(8.0).repeat(200, 1, 1, 1)
    flipped = augment(inputs, 0, True, 0.0, torch.Generator().manual_seed(0))
    mirrored = (flipped[:, 0, 0, 0] == 7).sum()
    assert 60 < mirrored < 140


def test_training_needs_no_more_than_its_seed():
    def weights(seed):
        torch.manual_seed(0)
        module = SPACE.build(ARCHITECTURE)
        data = prepare(TASK, TASK.split("train").subset(128, 0), (16, 16))
        train(module, TASK, data, TrainingOptions(epochs=1), seed)
        return torch.cat([p.flatten() for p in module.parameters()]).detach()

    first, again, other = weights(0), weights(0), weights(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_float_accuracy_counts_what_is_right():
    class Oracle(nn.Module):
        def forward(self, inputs):
            return nn.functional.one_hot(inputs[:, 0, 0, 0].long(), 10).float()

    labels = torch.arange(10)
    inputs = labels.float()[:, None, None, None].repeat(1, 1, 8, 8)
    inputs[0] = 5
    assert float_accuracy(Oracle(), Batch(inputs, labels)) == 0.9


def test_standard_error_of_a_share_is_never_zero():
    assert binomial_se(1.0, 100) > 0
    assert binomial_se(0.5, 100) == pytest.approx(0.05)
