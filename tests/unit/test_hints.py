"""Ranks of a sample as trials that a strategy begins with."""

import numpy as np
import pytest

from hilnas.objectives import Objective, Quantity
from hilnas.options import OptionsError
from hilnas.proxies import ProxyScore, sample
from hilnas.recipe import check_recipe
from hilnas.search.hints import as_trials
from hilnas.search.setup import make_setup
from hilnas.spaces.mbconv import MBConv
from hilnas.strategies import Problem
from hilnas.strategies.rl import Controller, ControllerOptions
from hilnas.trial import Estimate, Proposal, Trial, TrialStatus

SPACE = MBConv((1, 32, 32), 10)
DRAWN = sample(SPACE, 40, 0)


def by_depth(architecture):
    return sum(int(architecture[f"stage{stage}.depth"]) for stage in (1, 2, 3))


SCORES = [{"parameters": ProxyScore(float(by_depth(architecture)))} for architecture in DRAWN]


def test_ranks_stand_for_accuracies():
    trials = as_trials(DRAWN, SCORES, ())
    assert [trial.architecture for trial in trials] == DRAWN
    assert all(trial.final and trial.estimate.is_rank for trial in trials)
    depths = [by_depth(architecture) for architecture in DRAWN]
    ranks = [trial.estimate.accuracy for trial in trials]
    assert 0 < min(ranks) < max(ranks) < 1
    for (depth, rank), (other, beside) in zip(
        sorted(zip(depths, ranks, strict=True)), sorted(zip(depths, ranks, strict=True))[1:], strict=False
    ):
        assert (rank < beside) == (depth < other)
    assert all(trial.estimate.accuracy_se > 0 for trial in trials)


def test_beside_earlier_searches_a_rank_is_an_accuracy_of_theirs():
    accuracies = np.linspace(0.7, 0.9, 21)
    earlier = [
        Trial(n, Proposal(DRAWN[n]), TrialStatus.SCORED, estimate=Estimate("train", accuracy, 0.01))
        for n, accuracy in enumerate(accuracies)
    ]
    ranks = [trial.estimate.accuracy for trial in as_trials(DRAWN, SCORES, ())]
    mapped = [trial.estimate for trial in as_trials(DRAWN, SCORES, earlier)]
    assert [e.accuracy for e in mapped] == pytest.approx([0.7 + 0.2 * rank for rank in ranks])
    assert all(e.accuracy_se > 0 and not e.is_rank for e in mapped)


def test_the_controller_begins_with_what_the_proxies_like():
    problem = Problem(SPACE, (Objective(quantity=Quantity.ACCURACY),), tuple(as_trials(DRAWN, SCORES, ())))
    cold, warm = (
        np.mean(
            [by_depth(Controller(p, ControllerOptions(), seed).propose([]).architecture) for seed in range(4)]
        )
        for p in (Problem(SPACE, problem.objectives), problem)
    )
    assert warm > cold
    assert warm > max(map(by_depth, DRAWN)) - 1


@pytest.mark.parametrize("name", ["evolution", "random"])
def test_a_strategy_that_would_not_listen_is_refused(name):
    recipe = check_recipe({
        "search": {"warm_start_proxy": {"proxy": "synflow"}},
        "task": {"name": "digits"},
        "strategy": {"name": name},
        "objective": [{"quantity": "accuracy"}],
    })  # fmt: skip
    with pytest.raises(
        OptionsError, match=f'search.warm_start_proxy is set, but the strategy "{name}" learns nothing'
    ):
        make_setup(recipe, None, [])
