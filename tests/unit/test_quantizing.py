"""A winner's way to int8: chosen by what was measured on validation data, fine-tuned where that is better."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from hilnas.estimators.final import evaluate_final
from hilnas.estimators.quantizing import FINE_TUNED, QuantizingOptions, choose_int8, fine_tune, quantize
from hilnas.estimators.train import int8_accuracy, to_int8
from hilnas.export import Int8Model, QuantizationOptions
from hilnas.options import OptionsError
from hilnas.recipe import FinalOptions, check_recipe
from hilnas.search.history import Winner
from hilnas.search.winners import Winners
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.tasks.digits import Digits, DigitsOptions
from hilnas.tasks.training import Batch, TrainingError, TrainingOptions, float_accuracy, prepare, train
from hilnas.trial import ModelFacts

TASK = Digits(DigitsOptions(size=16))
SPACE = MBConv(TASK.shape, TASK.classes, MBConvOptions(
    resolutions=[1.0], kernels=[3], stage_widths=[[8], [8, 12], [16]], stage_depths=[[1], [1, 2], [1]], head_width=48,
))  # fmt: skip
ARCHITECTURE = SPACE.sample(np.random.default_rng(1))
RECIPE = {"task": {"name": "digits"}, "objective": [{"quantity": "accuracy"}]}


class Spiking(nn.Module):
    """A net with one more hidden number, which nobody reads, and which is huge for the very brightest pictures."""

    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(256, 25)
        self.classifier = nn.Linear(25, 10)

    def forward(self, images):
        return self.classifier(torch.relu(self.hidden(self.flatten(images))))


def splits():
    return SimpleNamespace(
        train=prepare(TASK, TASK.split("train"), (16, 16)),
        validation=prepare(TASK, TASK.split("validation"), (16, 16)),
        calibration=prepare(TASK, TASK.split("train").subset(64, 0), (16, 16)),
    )


def spiking_net(data):
    """Float knows no difference; the range of the hidden layer is a thousand times what it needs to be."""
    torch.manual_seed(0)
    net = Spiking()
    with torch.no_grad():
        net.classifier.weight[:, 24] = 0.0
    train(net, TASK, data.train, TrainingOptions(epochs=6, batch=32, learning_rate=0.01), 0)
    brightness = data.calibration.inputs.flatten(1).sum(1)
    second, first = brightness.sort().values[-2:].tolist()
    with torch.no_grad():
        net.classifier.weight[:, 24] = 0.0
        steepness = 1e4 / (first - second)
        net.hidden.weight[24] = steepness
        net.hidden.bias[24] = -second * steepness
    return net.eval()


@pytest.fixture(scope="module")
def data():
    return splits()


@pytest.fixture(scope="module")
def spiking(data):
    return spiking_net(data)


def test_ranges_that_outliers_spoil_are_found_and_mended_by_measuring(data, spiking):
    candidates = QuantizingOptions(quantization="best", percentile=99.9).candidates()
    found, options = choose_int8(spiking, data.calibration, TASK, data.validation, candidates)
    exact = float_accuracy(spiking, data.validation)
    assert exact > 0.8
    assert found.accuracies["minmax"] < 0.5
    assert found.choice.startswith("percentile 99.9")
    assert options.name == found.choice
    assert list(found.accuracies) == [each.name for each in candidates]
    assert len(candidates) == 6
    assert found.accuracies[found.choice] == max(found.accuracies.values()) > exact - 0.02
    assert int8_accuracy(found.model, data.validation) == found.accuracies[found.choice]
    assert found.model == to_int8(spiking, data.calibration, TASK, options)


def test_of_equally_accurate_files_the_simplest_ships(data):
    torch.manual_seed(0)
    net = Spiking().eval()
    with torch.no_grad():  # whatever it sees, it is class 0
        net.classifier.weight.zero_()
        net.classifier.bias.copy_(torch.arange(10.0, 0.0, -1.0))
    candidates = [QuantizationOptions("mse"), QuantizationOptions(), QuantizationOptions("percentile")]
    found, options = choose_int8(net, data.calibration, TASK, data.validation, candidates)
    assert len(set(found.accuracies.values())) == 1
    assert options == candidates[0]


def test_nothing_to_choose_from_is_said(data):
    with pytest.raises(ValueError, match="at least one"):
        choose_int8(Spiking().eval(), data.calibration, TASK, data.validation, [])


def test_fine_tuning_mends_what_was_spoilt_and_ships_only_when_it_is_better(data, spiking):
    options = QuantizingOptions(batch=32, qat_epochs=2, quantization="percentile", percentile=99.9)
    found = quantize(spiking, data.calibration, TASK, data.train, data.validation, options, 0)
    assert list(found.accuracies) == ["percentile 99.9", FINE_TUNED]
    assert found.accuracies[FINE_TUNED] > float_accuracy(spiking, data.validation) - 0.02
    best = max(found.accuracies, key=found.accuracies.__getitem__)
    assert found.choice == best
    assert int8_accuracy(found.model, data.validation) == found.accuracies[best]
    harmful = options.model_copy(update={"qat_learning_rate": 3.0})
    kept = quantize(spiking, data.calibration, TASK, data.train, data.validation, harmful, 0)
    assert kept.accuracies[FINE_TUNED] < kept.accuracies["percentile 99.9"]
    assert kept.choice == "percentile 99.9"


def test_fine_tuning_needs_no_more_than_its_seed(data):
    torch.manual_seed(0)
    module = SPACE.build(ARCHITECTURE).eval()
    few = Batch(data.train.inputs[:128], data.train.labels[:128])
    options = QuantizingOptions(qat_epochs=1, batch=32)

    def tuned(seed):
        torch.manual_seed(seed + 5)
        return fine_tune(module, data.calibration, TASK, few, options, QuantizationOptions(), seed)

    first = tuned(0)
    assert tuned(0) == first
    assert tuned(1) != first
    # The shape of the file is the exporter's: what was measured of its speed holds.
    assert len(Int8Model(first)._interpreter.get_tensor_details()) == len(
        Int8Model(to_int8(module, data.calibration, TASK))._interpreter.get_tensor_details()
    )


def test_a_diverging_fine_tuning_names_its_own_learning_rate(data, spiking):
    options = QuantizingOptions(qat_epochs=1)
    broken = Batch(data.train.inputs.clone(), data.train.labels)
    broken.inputs[5, 0, 3, 3] = torch.nan
    with pytest.raises(TrainingError, match=r"lower qat_learning_rate \(now 0\.001\), or set qat_epochs = 0"):
        fine_tune(spiking, data.calibration, TASK, broken, options, QuantizationOptions(), 0)


def test_a_winner_is_chosen_by_validation_alone_and_tells_all():
    shares: list[float] = []
    options = FinalOptions(epochs=2, qat_epochs=1, batch=32, learning_rate=0.01, quantization="best")
    final = evaluate_final(ARCHITECTURE, SPACE, TASK, options, 0, shares.append)
    quantized = final.quantized
    assert len(quantized.accuracies) == 7
    assert final.accuracies["validation_accuracy"] == max(quantized.accuracies.values())
    test = prepare(TASK, TASK.split("test"), (16, 16))
    assert final.accuracies["test_accuracy"] == int8_accuracy(quantized.model, test)
    assert shares == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_without_a_word_a_winner_is_what_it_was():
    options = FinalOptions(epochs=1, batch=32)
    assert options.candidates() == [QuantizationOptions()]
    final = evaluate_final(ARCHITECTURE, SPACE, TASK, options, 0)
    assert final.quantized.choice == "minmax"
    assert list(final.quantized.accuracies) == ["minmax"]


def test_the_recipe_knows_the_ways_and_says_so():
    recipe = check_recipe({**RECIPE, "final": {"quantization": "best", "qat_epochs": 3}})
    assert recipe.final.qat_epochs == 3
    assert check_recipe(RECIPE).final.quantization == "minmax"
    with pytest.raises(OptionsError, match="'minmax', 'percentile', 'mse' or 'best'"):
        check_recipe({**RECIPE, "final": {"quantization": "entropy"}})
    with pytest.raises(OptionsError, match="less than or equal to 1"):
        check_recipe({**RECIPE, "final": {"qat_learning_rate": 3.0}})
    with pytest.raises(OptionsError, match='did you mean "qat_epochs"'):
        check_recipe({**RECIPE, "final": {"qat_epoch": 3}})


def test_a_winner_of_before_there_was_a_choice_is_not_trained_again():
    def known(recipe, training):
        winner = Winner(0, ModelFacts("f" * 64, 1, 1, 1), {}, (), "e" * 64, 1.0, training)
        history = SimpleNamespace(winners=[winner], sessions=[])
        context = SimpleNamespace(setup=SimpleNamespace(recipe=recipe), history=history)
        return Winners(context, None)._recorded(0) is winner

    plain = check_recipe(RECIPE)
    before = TrainingOptions(epochs=plain.final.epochs).model_dump(mode="json")
    assert known(plain, before)
    assert not known(plain, {})
    assert not known(check_recipe({**RECIPE, "final": {"quantization": "mse"}}), before)
    assert not known(check_recipe({**RECIPE, "final": {"qat_epochs": 1}}), before)
