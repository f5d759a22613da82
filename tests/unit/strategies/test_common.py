"""What holds for every strategy beyond its contract, and the helpers they share."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilnas.spaces import uniform
from hilnas.strategies import Problem
from hilnas.strategies.common import (
    Novelty,
    architectures,
    fitness,
    neighbourhood,
    single_changes,
    to_minimise,
)
from hilnas.strategies.evolution import Evolution
from hilnas.strategies.generative import Generative
from hilnas.strategies.local_search import LocalSearch
from hilnas.strategies.multi_objective_evolution import MultiObjectiveEvolution
from hilnas.strategies.netadapt import NetAdapt
from hilnas.strategies.optuna_samplers import Nsga2, Tpe
from hilnas.strategies.progressive import Progressive
from hilnas.testing.strategies import mixed_fate
from tests.unit.strategies.toys import ACCURACY, BOTH, NARROW, NETS, failed, invalid, measured, scored, search
from tests.unit.test_spaces import Plain, enumerate_all, forests

ALL = [Evolution, Generative, LocalSearch, MultiObjectiveEvolution, NetAdapt, Nsga2, Progressive, Tpe]


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in (Tpe, Nsga2)])
def test_a_small_space_is_proposed_to_its_last_architecture(kind):
    size = len(list(architectures(NARROW)))
    assert size == 360
    _, trials = search(kind, Problem(NARROW, BOTH), size + 5, mixed_fate)
    assert len({trial.architecture for trial in trials[:size]}) == size


@pytest.mark.parametrize("kind", [Tpe, Nsga2])
def test_a_tiny_space_is_sampled_to_its_last_architecture(kind):
    tiny = Plain(*NARROW.decisions[:3])
    _, trials = search(kind, Problem(tiny, BOTH), 30, mixed_fate)
    assert len({trial.architecture for trial in trials[:27]}) == tiny.size == 27


@pytest.mark.parametrize("kind", ALL)
@given(forests(), st.integers(0, 9))
@settings(max_examples=12, deadline=None)
def test_any_space_is_proposed_without_repetition(kind, space, seed):
    count = min(space.size, 24)
    _, trials = search(kind, Problem(space, BOTH), count + 2, mixed_fate, seed)
    assert len({trial.architecture for trial in trials[:count]}) == count


@pytest.mark.parametrize("kind", ALL)
def test_many_may_be_in_flight(kind):
    _, trials = search(kind, Problem(NETS, BOTH), 96, measured, in_flight=64, group=8)
    assert len({trial.architecture for trial in trials}) == 96


@pytest.mark.parametrize("kind", ALL)
def test_groups_may_come_in_another_order(kind):
    strategy = kind(Problem(NETS, BOTH), kind.Options(), 0)
    trials = [mixed_fate(scored(number, strategy.propose([]).architecture, 0.0)) for number in range(24)]
    for start in (12, 0, 18, 6):
        strategy.observe(trials[start : start + 6])
    assert strategy.propose([]).architecture not in {trial.architecture for trial in trials}


def test_fitness_puts_invalid_below_all_and_knows_nothing_of_failures():
    architecture = next(architectures(NETS))
    assert fitness(scored(0, architecture, -7.0)) == -7.0
    assert fitness(invalid(1, architecture)) == -np.inf
    assert fitness(failed(2, architecture)) is None


def test_losses_are_minimised():
    trial = measured(scored(0, next(architectures(NETS)), 0.0))
    values = trial.score.values
    assert to_minimise(BOTH, trial) == (-values["accuracy"], values["latency@board"])
    assert to_minimise((ACCURACY,), trial) == (-trial.score.reward,)


def test_all_architectures_are_listed_once():
    assert list(architectures(NETS)) == list(enumerate_all(NETS))
    assert all(NARROW.check(architecture) for architecture in architectures(NARROW))


def test_completion_keeps_what_is_wanted_and_open():
    architecture = NARROW.complete({"width": 32, "depth": 3, "block2.kernel": 7}, lambda choices: choices[-1])
    assert (architecture["width"], architecture["depth"], architecture["block2.kernel"]) == (32, 2, 7)


def test_single_changes_reach_deeper_nets_too():
    start = NETS.complete({}, lambda choices: choices[0])
    changes = list(single_changes(NETS, start, lambda choices: choices[0]))
    assert {(name, value) for name, value, _ in changes} == {
        ("width", 16), ("width", 32), ("depth", 2), ("depth", 3), ("block1.kernel", 5), ("block1.kernel", 7),
        ("se", True), ("activation", "hswish"),
    }  # fmt: skip
    assert all(changed[name] == value for name, value, changed in changes)
    around = neighbourhood(NETS, start, uniform(np.random.default_rng(0)))
    assert set(NETS.neighbours(start)) < set(around)
    assert start not in around


def test_novelty_prefers_what_is_wanted_then_what_is_near():
    novelty = Novelty(NETS, np.random.default_rng(0))
    wanted = next(architectures(NETS))
    assert novelty.take(wanted) == wanted
    near = novelty.take(wanted)
    assert near in set(neighbourhood(NETS, wanted, uniform(np.random.default_rng(0)))) or near["depth"] > 1
    everything = {wanted, near, *(novelty.take(wanted) for _ in range(466))}
    assert len(everything) == 468
    assert all(novelty.take(wanted) == wanted for _ in itertools.repeat(None, 2))
