import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.objectives import hypervolume, pareto_front
from hilnas.strategies import Problem
from hilnas.strategies.common import architectures, to_minimise
from hilnas.strategies.multi_objective_evolution import (
    MultiObjectiveEvolution,
    MultiObjectiveEvolutionOptions,
)
from hilnas.strategies.nondominated import crowded_order, crowding_distances, nondominated_fronts
from hilnas.strategies.random import Random
from tests.unit.strategies.toys import (
    BOTH,
    NETS,
    best_reward,
    failed,
    invalid,
    measured,
    scored,
    search,
)  # fmt: skip

POINTS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=24)


def fronts_by_definition(points):
    """Peel off what no point that is left dominates."""
    left, fronts = set(range(len(points))), []
    while left:
        front = {
            i for i in left
            if not any(all(a <= b for a, b in zip(points[j], points[i], strict=True)) and points[j] != points[i] for j in left)
        }  # fmt: skip
        fronts.append(front)
        left -= front
    return fronts


@given(POINTS)
def test_fronts_are_those_of_the_definition(points):
    found = nondominated_fronts(np.array(points, float))
    assert [set(front.tolist()) for front in found] == fronts_by_definition(points)


def test_crowding_is_half_the_perimeter_of_the_cuboid():
    line = np.array([[0.0, 10.0], [1.0, 8.0], [4.0, 4.0], [10.0, 0.0]])
    assert crowding_distances(line) == pytest.approx([np.inf, 0.4 + 0.6, 0.9 + 0.8, np.inf])
    assert crowding_distances(np.array([[1.0, 1.0], [1.0, 1.0]])).tolist() == [np.inf, np.inf]


def test_order_is_by_front_then_by_crowding():
    losses_ = np.array([[5.0, 5.0], [0.0, 10.0], [1.0, 8.0], [4.0, 4.0], [10.0, 0.0]])
    assert crowded_order(losses_).tolist() == [1, 4, 3, 2, 0]


def test_the_front_stays_in_the_population():
    strategy = MultiObjectiveEvolution(Problem(NETS, BOTH), MultiObjectiveEvolutionOptions(population=30), 0)
    generator = np.random.default_rng(0)
    trials = [measured(scored(n, NETS.sample(generator), 0.0)) for n in range(120)]
    for start in range(0, 120, 10):
        strategy.observe(trials[start : start + 10])
    members = {architecture for _, architecture in strategy.population}
    assert len(strategy.population) == 30
    assert {trial.architecture for trial in pareto_front(BOTH, trials)} <= members


def test_a_child_takes_each_decision_from_a_parent():
    options = MultiObjectiveEvolutionOptions(mutation=0.0)
    strategy = MultiObjectiveEvolution(Problem(NETS, BOTH), options, 0)
    nets = list(architectures(NETS))
    small, large = nets[0], nets[-1]
    children = [strategy.breed(small, large) for _ in range(60)]
    for child in children:
        assert all(value in (small.get(name), large.get(name)) for name, value in child.decisions)
    assert {child["depth"] for child in children} == {1, 3}
    assert len(set(children)) > 10
    assert strategy.breed(small, small) == small


def test_mutation_draws_what_no_parent_has():
    strategy = MultiObjectiveEvolution(Problem(NETS, BOTH), MultiObjectiveEvolutionOptions(mutation=0.5), 0)
    small = next(architectures(NETS))
    assert {strategy.breed(small, small)["width"] for _ in range(40)} == {8, 16, 32}


def test_invalid_and_failed_ones_are_no_parents():
    strategy = MultiObjectiveEvolution(Problem(NETS, BOTH), MultiObjectiveEvolutionOptions(), 0)
    bad, lost = list(architectures(NETS))[:2]
    strategy.observe([invalid(0, bad), failed(1, lost)])
    assert strategy.population == []


def test_its_front_beats_that_of_random():
    problem = Problem(NETS, BOTH)

    def volume(kind, **options):
        found = 0.0
        for seed in range(3):
            _, trials = search(kind, problem, 80, measured, seed, **options)
            found += hypervolume([to_minimise(BOTH, trial) for trial in trials], (0.0, 50.0))
        return found

    assert volume(MultiObjectiveEvolution, population=20) > volume(Random)


def test_a_single_objective_is_the_reward():
    assert best_reward(MultiObjectiveEvolution, 200, population=20) > best_reward(Random, 200) + 0.1
