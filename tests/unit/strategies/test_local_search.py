import numpy as np
import pytest

from hilnas.strategies import Problem
from hilnas.strategies.local_search import LocalSearch, LocalSearchOptions
from hilnas.strategies.random import Random
from hilnas.trial import Proposal, Trial
from tests.unit.strategies.toys import (
    ACCURACY,
    LETTERS,
    best_reward,
    failed,
    invalid,
    letters,
    scored,
)

PROBLEM = Problem(LETTERS, (ACCURACY,))


def distance(first, second):
    return sum(a != b for a, b in zip(first.decisions, second.decisions, strict=True))


def one_by_one(strategy, count, reward):
    """Propose and observe `count` times; return the architectures and their rewards."""
    seen = []
    for number in range(count):
        architecture = strategy.propose([]).architecture
        seen.append((architecture, reward(architecture)))
        strategy.observe([scored(number, *seen[-1])])
    return seen


def share_of_d(architecture):
    return letters(Trial(0, Proposal(architecture))).score.reward


def test_it_moves_to_the_first_improvement():
    strategy = LocalSearch(PROBLEM, LocalSearchOptions(starts=1), 0)
    incumbent, bar = None, -1.0
    for architecture, reward in one_by_one(strategy, 60, share_of_d):
        if incumbent is not None:
            assert distance(architecture, incumbent) == 1
        if reward > bar:
            incumbent, bar = architecture, reward
        if bar == 1.0:
            return
    pytest.fail("the top was not reached")


def test_the_best_improvement_waits_for_all_neighbours():
    strategy = LocalSearch(PROBLEM, LocalSearchOptions(starts=1, improvement="best"), 0)
    generator = np.random.default_rng(0)
    heights = {}
    start = strategy.propose([]).architecture
    strategy.observe([scored(0, start, 0.0)])
    around = one_by_one(strategy, 30, lambda a: heights.setdefault(a, float(generator.random())))
    assert {architecture for architecture, _ in around} == set(LETTERS.neighbours(start))
    assert strategy.climbs[0].incumbent == max(heights, key=heights.__getitem__)


def test_a_climb_begins_at_the_best_start():
    strategy = LocalSearch(PROBLEM, LocalSearchOptions(starts=5), 0)
    starts = one_by_one(strategy, 5, share_of_d)
    best = max(starts, key=lambda pair: pair[1])[0]
    assert distance(strategy.propose([]).architecture, best) == 1


def test_it_starts_again_in_a_local_optimum():
    strategy = LocalSearch(PROBLEM, LocalSearchOptions(starts=1), 0)
    seen = one_by_one(strategy, 32, lambda a: 0.5)
    first = seen[0][0]
    assert {a for a, _ in seen[1:31]} == set(LETTERS.neighbours(first))
    assert distance(seen[31][0], first) > 1


def test_while_all_wait_others_start():
    strategy = LocalSearch(PROBLEM, LocalSearchOptions(starts=1), 0)
    proposed = [strategy.propose([]).architecture for _ in range(64)]
    assert len(set(proposed)) == len(strategy.climbs) == 64
    strategy.observe([scored(0, proposed[0], 0.5)])
    assert distance(strategy.propose([]).architecture, proposed[0]) == 1


def test_a_start_that_is_still_awaited_is_not_forgotten():
    strategy = LocalSearch(PROBLEM, LocalSearchOptions(starts=2), 0)
    first, second = (strategy.propose([]).architecture for _ in range(2))
    strategy.observe([scored(0, first, 0.1)])
    strategy.observe([scored(1, second, 0.2)])
    assert [climb.incumbent for climb in strategy.climbs] == [first, second]
    assert distance(strategy.propose([]).architecture, second) == 1


def test_a_late_neighbour_still_counts():
    strategy = LocalSearch(PROBLEM, LocalSearchOptions(starts=1), 0)
    start = strategy.propose([]).architecture
    strategy.observe([scored(0, start, 0.1)])
    late, early = (strategy.propose([]).architecture for _ in range(2))
    strategy.observe([scored(2, early, 0.2)])
    assert strategy.climbs[0].incumbent == early
    strategy.observe([scored(1, late, 0.3)])
    assert strategy.climbs[0].incumbent == late


def test_nobody_moves_to_what_is_invalid_or_failed():
    strategy = LocalSearch(PROBLEM, LocalSearchOptions(starts=1), 0)
    start = strategy.propose([]).architecture
    strategy.observe([scored(0, start, -3.0)])
    bad, lost = (strategy.propose([]).architecture for _ in range(2))
    strategy.observe([invalid(1, bad), failed(2, lost)])
    assert strategy.climbs[0].incumbent == start
    assert not strategy.climbs[0].waiting


def test_an_invalid_start_is_left():
    strategy = LocalSearch(PROBLEM, LocalSearchOptions(starts=1), 0)
    strategy.observe([invalid(0, strategy.propose([]).architecture)])
    assert strategy.climbs == []


def test_it_beats_random():
    assert best_reward(LocalSearch, 120) > best_reward(Random, 120) + 0.15
