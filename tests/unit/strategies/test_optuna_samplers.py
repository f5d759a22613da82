import math
import warnings

import numpy as np
import optuna
import pytest
import torch

from hilnas.objectives import hypervolume
from hilnas.options import OptionsError, parse_options
from hilnas.spaces import Decision
from hilnas.strategies import Problem
from hilnas.strategies.common import to_minimise
from hilnas.strategies.optuna_samplers import Gp, GpOptions, Nsga2, Nsga2Options, Tpe, TpeOptions
from hilnas.strategies.optuna_study import nearest_allowed
from hilnas.strategies.random import Random
from tests.unit.strategies.toys import (
    BOTH,
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

COMPLETE, FAIL, RUNNING = (optuna.trial.TrialState[name] for name in ("COMPLETE", "FAIL", "RUNNING"))


def told(strategy, state):
    return [trial for trial in strategy.study.study.get_trials(deepcopy=False) if trial.state is state]


@pytest.mark.parametrize(("kind", "options"), [(Tpe, {}), (Tpe, {"multivariate": True}), (Nsga2, {"population": 20, "aim": "reward"})])  # fmt: skip
def test_they_beat_random(kind, options):
    assert best_reward(kind, 100, seeds=(0,), **options) > best_reward(Random, 100) + 0.05


def test_gp_beats_random():
    _, learned = search(Gp, WORDS, 30, letters, in_flight=2, group=1, startup=10)
    _, drawn = search(Random, WORDS, 30, letters, in_flight=2, group=1)
    assert (
        np.mean([t.score.reward for t in learned[-10:]])
        > np.mean([t.score.reward for t in drawn[-10:]]) + 0.2
    )


def test_gp_repeats_itself_bit_for_bit():
    problem = Problem(NETS, BOTH)
    first, second = (search(Gp, problem, 14, measured, startup=6)[1] for _ in range(2))
    assert [trial.proposal for trial in first] == [trial.proposal for trial in second]


def test_nobody_elses_random_numbers_are_drawn():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), torch.get_num_threads()
    search(Gp, Problem(NETS, BOTH), 10, measured, startup=4)
    search(Tpe, Problem(NETS, BOTH), 20, measured)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.get_num_threads() == before[2]


def test_optuna_is_quiet_and_stays_as_it_was(capfd):
    verbosity = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(Tpe, Problem(NETS, BOTH), 14, measured, multivariate=True)
        search(Nsga2, Problem(NETS, BOTH), 14, measured, population=4)
        search(Gp, Problem(NETS, BOTH), 12, measured, startup=4)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == verbosity


@pytest.mark.parametrize("kind", [Tpe, Gp, Nsga2])
def test_optuna_knows_what_was_proposed(kind):
    strategy, trials = search(kind, Problem(NARROW, BOTH), 30, measured, in_flight=8, group=2, **({"startup": 40} if kind is Gp else {}))  # fmt: skip
    running = [dict(trial.params) for trial in told(strategy, RUNNING)]
    complete = [dict(trial.params) for trial in told(strategy, COMPLETE)]
    assert len(running) == 8
    assert len(complete) == 22
    for parameters, trial in zip([*complete, *running], trials, strict=True):
        made = dict(trial.architecture.decisions)
        assert made.items() <= parameters.items()
        if kind is Tpe:
            assert made == parameters
        if kind is Gp:
            assert all(parameters[d.name] == d.choices[0] for d in NARROW.decisions if d.name not in made)
    for parameters, trial in zip(complete, trials, strict=False):
        entry = next(t for t in told(strategy, COMPLETE) if dict(t.params) == parameters)
        assert entry.values == pytest.approx(to_minimise(strategy.objectives, trial))


def test_an_allowed_choice_near_the_suggested_one_is_taken():
    decision = Decision("width", (8, 16, 32, 64))
    assert nearest_allowed(decision, 3, (8, 32)) == 32
    assert nearest_allowed(decision, 1, (8, 32)) == 8
    assert nearest_allowed(decision, 2, (8, 16, 32, 64)) == 32


def test_invalid_is_worse_than_anything_scored_and_failed_says_nothing():
    strategy = Tpe(WORDS, TpeOptions(), 0)
    words = [strategy.propose([]).architecture for _ in range(5)]
    strategy.observe([invalid(0, words[0]), failed(1, words[1])])
    assert [trial.params for trial in told(strategy, FAIL)] == [dict(words[1].decisions)]
    assert len(told(strategy, RUNNING)) == 4, "what is invalid waits for something to be worse than"
    strategy.observe([scored(2, words[2], 0.5), scored(3, words[3], -2.0)])
    values = {tuple(trial.params.values()): trial.value for trial in told(strategy, COMPLETE)}
    assert values[tuple(dict(words[0].decisions).values())] > 2.0
    strategy.observe([invalid(4, words[4])])
    assert all(math.isfinite(trial.value) for trial in told(strategy, COMPLETE))


def test_tpe_shuns_what_was_invalid():
    def no_a_first(trial):
        if trial.architecture["d0"] in "abc":
            return invalid(trial.number, trial.architecture)
        return letters(trial)

    _, trials = search(Tpe, WORDS, 80, no_a_first)
    assert np.mean([trial.architecture["d0"] == "d" for trial in trials[-30:]]) > 0.6


def test_nsga2_aims_at_the_front_or_at_the_reward():
    problem = Problem(NETS, BOTH)
    front, trials = search(Nsga2, problem, 100, measured, population=10)
    assert len(front.study.study.directions) == 2
    reward, _ = search(Nsga2, problem, 12, measured, population=4, aim="reward")
    assert len(reward.study.study.directions) == 1
    _, drawn = search(Random, problem, 100, measured)

    def volume(found):
        return hypervolume([to_minimise(BOTH, trial) for trial in found[-50:]], (0.0, 50.0))

    assert volume(trials) > volume(drawn)


def test_nsga2_keeps_the_genes_of_decisions_that_sleep():
    strategy = Nsga2(Problem(NETS, BOTH), Nsga2Options(), 0)
    proposed = [strategy.propose([]).architecture for _ in range(20)]
    assert {net["depth"] for net in proposed} == {1, 2, 3}
    running = told(strategy, RUNNING)
    assert all(trial.params.keys() == {d.name for d in NETS.decisions} for trial in running)
    assert {trial.params["block3.kernel"] for trial in running if trial.params["depth"] < 3} == {3, 5, 7}


def test_wrong_options_are_named():
    with pytest.raises(OptionsError, match=r"strategy\.aim"):
        parse_options(Nsga2Options, {"aim": "glory"}, "strategy")
    with pytest.raises(OptionsError, match=r'unknown key "strategy\.start".*did you mean "startup"'):
        parse_options(GpOptions, {"start": 3}, "strategy")
