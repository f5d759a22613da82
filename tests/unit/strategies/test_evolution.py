import numpy as np

from hilnas.strategies import Problem
from hilnas.strategies.evolution import Evolution, EvolutionOptions
from hilnas.strategies.random import Random
from tests.unit.strategies.toys import ACCURACY, LETTERS, best_reward, failed, invalid, scored

PROBLEM = Problem(LETTERS, (ACCURACY,))


def words(count):
    generator = np.random.default_rng(7)
    return [LETTERS.sample(generator) for _ in range(count)]


def test_the_oldest_dies_even_if_it_is_the_best():
    strategy = Evolution(PROBLEM, EvolutionOptions(population=3), 0)
    strategy.observe([scored(n, word, 1.0 - n / 10) for n, word in enumerate(words(4))])
    assert [word for _, word in strategy.population] == words(4)[1:]


def test_age_is_counted_from_arrival():
    late, *others = words(4)
    strategy = Evolution(PROBLEM, EvolutionOptions(population=3), 0)
    strategy.observe([scored(n, word, 0.5) for n, word in enumerate(others, start=1)])
    strategy.observe([scored(0, late, 0.5)])
    assert [word for _, word in strategy.population] == [*others[1:], late]


def test_the_best_of_a_tournament_is_the_parent():
    def parents(tournament):
        strategy = Evolution(PROBLEM, EvolutionOptions(population=20, tournament=tournament), 0)
        strategy.observe([scored(n, word, n / 20) for n, word in enumerate(words(20))])
        return [words(20).index(strategy.select()) for _ in range(400)]

    assert abs(np.mean(parents(1)) - 9.5) < 1.0
    # The mean of the greatest of t draws from 0..n-1 is n - 1 - sum((k / n)^t for k < n).
    expected = 19 - sum((k / 20) ** 5 for k in range(20))
    assert abs(np.mean(parents(5)) - expected) < 0.5
    assert set(parents(400)) == {19}


def test_a_child_is_its_parent_but_for_one_decision():
    strategy = Evolution(PROBLEM, EvolutionOptions(population=2, tournament=50), 0)
    drawn = [strategy.propose([]).architecture for _ in range(2)]
    strategy.observe([scored(0, drawn[0], 0.1), scored(1, drawn[1], 0.9)])
    child = strategy.propose([]).architecture
    assert sum(a != b for a, b in zip(child.decisions, drawn[1].decisions, strict=True)) == 1


def test_what_is_invalid_or_failed_is_no_parent():
    bad, lost, good = words(3)
    strategy = Evolution(PROBLEM, EvolutionOptions(population=3), 0)
    strategy.observe([scored(0, good, -5.0), invalid(1, bad), failed(2, lost)])
    assert [word for _, word in strategy.population] == [good]


def test_it_beats_random():
    assert best_reward(Evolution, 200, population=20, tournament=5) > best_reward(Random, 200) + 0.1
