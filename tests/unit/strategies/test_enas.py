"""ENAS: shared weights and a policy, trained in turn."""

import json

import numpy as np
import pytest
import torch

from hilnas.objectives import Objective, Quantity
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.strategies import Problem
from hilnas.strategies.enas import Enas, EnasOptions
from hilnas.strategies.enas.search import EnasSearch
from hilnas.strategies.enas.strategy import reward_by
from hilnas.tasks.digits import Digits, DigitsOptions

TASK = Digits(DigitsOptions(size=16, training_examples=512))
SPACE = MBConv(
    TASK.shape,
    TASK.classes,
    MBConvOptions(
        resolutions=[1.0],
        kernels=[3, 5],
        stem_widths=[8],
        stage_widths=[[8], [8, 16]],
        stage_depths=[[1], [1, 2]],
        stage_strides=[1, 2],
        expansions=[1, 2],
        activations=["relu6"],
        squeeze_excite=[False],
        head_width=16,
    ),
)
OPTIONS = EnasOptions(weights_epochs=2, batch=32, policy_steps=2, policy_batch=4, draws=8, frozen_share=0.0)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _search(options=OPTIONS, seed=0, reward_of=lambda net, accuracy: accuracy):
    return EnasSearch(SPACE, TASK, options, seed, reward_of)


def test_it_goes_on_exactly():
    whole = _search()
    whole.run()
    first = _search()
    first.run(until=1)
    second = _search()
    assert second.restore(first.checkpoint())
    second.run()
    assert second.found() == whole.found()
    for ours, theirs in zip(whole.policy.parameters(), second.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not _search(seed=1).restore(first.checkpoint())
    assert not _search().restore(b"torn")


def test_the_policy_learns_what_is_rewarded():
    def reward_of(net, accuracy):
        return float(np.mean([value == 5 for name, value in net.decisions if name.endswith("kernel")]))

    options = OPTIONS.model_copy(update={"policy_steps": 30, "policy_batch": 16, "learning_rate": 0.02})
    search = _search(options, reward_of=reward_of)
    search._train_policy(np.random.default_rng(0))
    search._train_policy(np.random.default_rng(1))
    found = search.found()
    assert found[0].reward == 1.0
    assert np.mean([one.reward for one in found]) > 0.75  # 0.5 by chance


def test_weights_learn_and_tell_nets_apart():
    options = OPTIONS.model_copy(update={"weights_epochs": 12, "weights_rate": 0.01})
    search = _search(options)
    search.run()
    assert search.found()[0].reward > 0.16  # chance is 0.1


def test_rewards_are_those_of_the_objectives():
    objectives = (
        Objective(quantity=Quantity.ACCURACY),
        Objective(quantity=Quantity.MACS, target=0.05, kind="soft"),
        Objective(quantity=Quantity.ENERGY, device_class="pi"),
    )
    reward = reward_by(SPACE, objectives, OPTIONS)
    small, large = SPACE.extremes()
    factor = (SPACE.features(large)["macs"] / 1e6 / 0.05) ** -0.07
    assert reward(large, 0.8) == pytest.approx(0.8 * factor)
    assert reward(small, 0.8) > reward(large, 0.8)


def test_what_was_found_is_proposed_in_its_order():
    objectives = (Objective(quantity=Quantity.ACCURACY),)
    content = Enas.prepare(SPACE, TASK, objectives, OPTIONS, 0, 1)
    assert content == Enas.prepare(SPACE, TASK, objectives, OPTIONS, 0, 1)
    problem = Problem(SPACE, objectives, prepared=content)
    strategy = Enas(problem, OPTIONS, 0)
    wanted = [one["architecture"] for one in json.loads(content)]
    proposed = [strategy.propose([]).architecture for _ in range(len(wanted) + 3)]
    assert [net.to_json() for net in proposed[: len(wanted)]] == wanted
    assert len(set(proposed)) == len(proposed)
