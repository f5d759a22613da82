import numpy as np
import pytest

from hilnas.strategies import Problem
from hilnas.strategies.common import architectures
from hilnas.strategies.progressive import Progressive, ProgressiveOptions, levels
from hilnas.strategies.random import Random
from tests.unit.strategies.toys import (
    ACCURACY,
    LETTERS,
    NETS,
    WORDS,
    best_reward,
    failed,
    figures,
    invalid,
    scored,
    search,
)  # fmt: skip

PROBLEM = Problem(NETS, (ACCURACY,))
SIMPLEST = {"width": 8, "depth": 1, "block1.kernel": 3, "se": False, "activation": "relu6"}


def accuracy(trial):
    return scored(trial.number, trial.architecture, figures(trial.architecture)["accuracy"].value)


def test_a_level_is_a_decision_with_its_dependants():
    depth = ("depth", "block1.kernel", "block2.kernel", "block3.kernel")
    assert levels(NETS) == [("width",), depth, ("se",), ("activation",)]


def test_complexity_grows_level_by_level():
    strategy = Progressive(PROBLEM, ProgressiveOptions(beam=6, expansions=10), 0)
    reached = []
    for number in range(40):
        architecture = strategy.propose([]).architecture
        reached.append(strategy.level)
        if strategy.level < len(strategy.levels):
            free = {name for level in strategy.levels[: strategy.level + 1] for name in level}
            frozen = {name: value for name, value in architecture.decisions if name not in free}
            assert frozen.items() <= SIMPLEST.items(), "a decision was made before its level"
        strategy.observe([accuracy(scored(number, architecture, 0.0))])
    assert reached == sorted(reached)
    assert reached[0] == -1
    assert set(reached) == {-1, 0, 1, 2, 3, 4}
    assert dict(next(iter(strategy.rewards)).decisions) == SIMPLEST


def test_a_level_measures_the_beam_and_no_more():
    strategy = Progressive(PROBLEM, ProgressiveOptions(beam=5, expansions=20), 0)
    at_depth = 0
    for number in range(20):
        architecture = strategy.propose([]).architecture
        at_depth += strategy.level == 1
        strategy.observe([accuracy(scored(number, architecture, 0.0))])
    assert at_depth == 5


def test_what_is_expanded_is_the_beam():
    strategy = Progressive(PROBLEM, ProgressiveOptions(beam=1, expansions=20), 0)
    best = None
    while strategy.level < 1:
        architecture = strategy.propose([]).architecture
        if strategy.level < 1:
            reward = {8: 0.3, 16: 0.9, 32: 0.5}[architecture["width"]]
            strategy.observe([scored(0, architecture, reward)])
            best = max(strategy.rewards, key=strategy.rewards.__getitem__)
    assert architecture["width"] == best["width"]


def test_while_results_are_awaited_the_level_goes_on():
    strategy = Progressive(PROBLEM, ProgressiveOptions(beam=4, expansions=30), 0)
    proposed = [strategy.propose([]).architecture for _ in range(64)]
    assert len(set(proposed)) == 64


def test_the_predictor_ranks_what_it_has_not_seen():
    points = list(architectures(NETS))
    order = np.random.default_rng(0).permutation(len(points))
    strategy = Progressive(PROBLEM, ProgressiveOptions(), 0)
    strategy.observe([accuracy(scored(n, points[place], 0.0)) for n, place in enumerate(order[:60])])
    ranked = strategy._rank([points[place] for place in order[60:]])
    truth = [figures(point)["accuracy"].value for point in ranked]
    assert np.corrcoef(np.arange(len(ranked)), truth)[0, 1] < -0.9


def test_candidates_go_by_predicted_reward_and_invalid_counts_as_the_worst():
    strategy = Progressive(Problem(LETTERS, (ACCURACY,)), ProgressiveOptions(), 0)
    generator = np.random.default_rng(0)

    def end(number, word):
        if word["d0"] == "a":
            return invalid(number, word)
        return scored(number, word, -5.0 + (word["d1"] == "d") - (word["d2"] == "a"))

    strategy.observe([end(n, LETTERS.sample(generator)) for n in range(100)])
    strategy.observe([failed(100, LETTERS.sample(generator))])
    candidates = [LETTERS.sample(generator) for _ in range(80)]
    ranked = strategy._rank(candidates)
    assert set(ranked) == set(candidates)

    def share(words, name, letter):
        return np.mean([word[name] == letter for word in words])

    assert share(ranked[:20], "d0", "a") == 0 < share(ranked[-20:], "d0", "a")
    assert share(ranked[:20], "d1", "d") > share(ranked[-20:], "d1", "d")


def test_it_refines_when_all_is_free():
    strategy, trials = search(Progressive, PROBLEM, 90, accuracy, beam=6, expansions=12)
    assert strategy.level == len(strategy.levels)
    best = max(figures(net)["accuracy"].value for net in architectures(NETS))
    assert max(trial.score.reward for trial in trials) == pytest.approx(best)


def test_it_beats_random():
    assert best_reward(Progressive, 150, beam=6) > best_reward(Random, 150) + 0.15


def test_words_have_a_level_a_letter():
    assert levels(WORDS.space) == [(f"d{number}",) for number in range(10)]
