import math

import numpy as np
import pytest

from hilnas.strategies import Problem
from hilnas.strategies.common import architectures
from hilnas.strategies.generative import Autoregressive, Generative, GenerativeOptions
from hilnas.strategies.random import Random
from tests.unit.strategies.toys import (
    ACCURACY,
    NARROW,
    NETS,
    WORDS,
    best_reward,
    failed,
    invalid,
    letters,
    measured,
    scored,
    search,
)  # fmt: skip


def draws(space, count, seed=0):
    generator = np.random.default_rng(seed)
    return [space.sample(generator) for _ in range(count)]


@pytest.mark.parametrize("space", [NETS, NARROW])
@pytest.mark.parametrize("elite", [0, 1, 12])
def test_probabilities_of_all_architectures_sum_to_one(space, elite):
    distribution = Autoregressive(space, smoothing=0.5, uniform=0.1)
    distribution.fit(draws(space, elite))
    logarithms = [distribution.log_probabilities(net) for net in architectures(space)]
    assert sum(math.exp(sum(values)) for values in logarithms) == pytest.approx(1.0)


def test_samples_come_as_often_as_told():
    distribution = Autoregressive(NARROW, smoothing=0.5, uniform=0.1)
    distribution.fit(draws(NARROW, 4))
    generator = np.random.default_rng(0)
    sampled = [distribution.sample(generator) for _ in range(4000)]
    likeliest = max(architectures(NARROW), key=lambda net: sum(distribution.log_probabilities(net)))
    expected = math.exp(sum(distribution.log_probabilities(likeliest)))
    error = math.sqrt(expected * (1 - expected) / 4000)
    assert abs(sampled.count(likeliest) / 4000 - expected) < 4 * error


def test_proposals_tell_the_probabilities_they_were_drawn_with():
    strategy, _ = search(
        Generative, Problem(NETS, (ACCURACY,)), 60, lambda trial: measured(trial, (ACCURACY,))
    )
    proposal = strategy.propose([])
    assert proposal.log_probabilities == strategy.distribution.log_probabilities(proposal.architecture)
    assert proposal.policy_version == strategy.version > 0


def test_it_is_uniform_until_it_has_seen_enough():
    _, trials = search(Generative, WORDS, 26, letters, startup=20)
    assert trials[19].proposal.log_probabilities == pytest.approx([-math.log(4)] * 10)
    assert trials[25].proposal.log_probabilities != pytest.approx([-math.log(4)] * 10)


def test_a_fit_is_the_smoothed_frequency():
    distribution = Autoregressive(WORDS.space, smoothing=1.0, uniform=0.0)
    word = WORDS.space.architecture({f"d{number}": "d" for number in range(10)})
    distribution.fit([word] * 3)
    first = WORDS.space.decisions[0]
    overall = (3 + 1 / 4) / 4
    assert distribution.probabilities(first, {})[3] == pytest.approx((3 + overall) / 4)
    second = WORDS.space.decisions[1]
    assert distribution.probabilities(second, {"d0": "d"})[3] == pytest.approx((3 + overall) / 4)
    assert distribution.probabilities(second, {"d0": "a"})[3] == pytest.approx(overall), "backed off"


def test_no_choice_dies_out():
    distribution = Autoregressive(WORDS.space, smoothing=1e-6, uniform=0.08)
    distribution.fit([WORDS.space.architecture({f"d{number}": "d" for number in range(10)})] * 50)
    assert distribution.probabilities(WORDS.space.decisions[0], {}).min() == pytest.approx(0.02, abs=1e-4)


def test_only_the_best_are_learned_from():
    strategy = Generative(WORDS, GenerativeOptions(startup=4, elite=2, quantile=0.01, uniform=0.0), 0)
    words = draws(WORDS.space, 6)
    strategy.observe([scored(0, words[0], -9.0), invalid(1, words[1]), failed(2, words[2])])
    assert strategy.version == 0, "three trials, of which one failed, are too few"
    strategy.observe([scored(3, words[3], -7.0), scored(4, words[4], -8.0), invalid(5, words[5])])
    expected = Autoregressive(WORDS.space, 1.0, 0.0)
    expected.fit([words[3], words[4]])
    for word in words:
        assert strategy.distribution.log_probabilities(word) == expected.log_probabilities(word)


def test_it_beats_random():
    assert best_reward(Generative, 200) > best_reward(Random, 200) + 0.15
