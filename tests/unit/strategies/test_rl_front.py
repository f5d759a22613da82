"""`rl` with `aim = "front"`."""

import math

import numpy as np
import pytest

from hilnas.objectives import Figure, Objective, hypervolume, losses, pareto_front
from hilnas.spaces.mbconv import MBConv
from hilnas.strategies import Problem
from hilnas.strategies.random import Random, RandomOptions
from hilnas.strategies.rl import Controller, ControllerOptions
from hilnas.strategies.rl.aims import WholeFront
from hilnas.strategies.rl.belief import Belief
from hilnas.testing.outcomes import concluded
from hilnas.testing.strategies import conduct
from hilnas.trial import Architecture, Proposal, Trial, TrialStatus

SPACE = MBConv((1, 32, 32), 10)
OBJECTIVES = (
    Objective(quantity="accuracy", limit=0.2),
    Objective(quantity="latency", device_class="board"),
    Objective(quantity="energy", device_class="board"),
)


def aim(count=2):
    return WholeFront(Problem(SPACE, OBJECTIVES[:count]))


def belief(*points):
    """Return what is known for certain: accuracy, latency, … of each point."""
    return Belief(OBJECTIVES[: len(points[0])], [np.array([column]) for column in zip(*points, strict=True)])


@pytest.mark.parametrize("count", [2, 3])
def test_promise_is_the_volume_that_is_added(count):
    """Zhang and Golovin 2020, lemma 5, against the exact volume; scaled as the measured points are."""
    generator = np.random.default_rng(0)
    measured = generator.uniform(0.3, 0.9, size=(9, count))
    new = generator.uniform(0.3, 1.0, size=(12, count))
    signs = np.array([-1.0] + [1.0] * (count - 1))
    worst, best = (signs * measured).max(0), (signs * measured).min(0)

    def volume(points):
        scaled = (np.array(points) * signs - best) / (worst - best)
        return hypervolume([tuple(p) for p in scaled], [1.0] * count)

    added = [volume([*measured, point]) - volume(measured) for point in new]
    promise = aim(count).promise(belief(*new), belief(*measured), None)
    constant = math.pi ** (count / 2) / 2**count / math.gamma(count / 2 + 1)
    assert promise * constant == pytest.approx(added, abs=0.05 * max(added))


def test_what_is_under_way_is_counted_on():
    measured, twin = belief((0.5, 3.0), (0.3, 1.0)), belief((0.6, 2.0))
    assert aim().promise(twin, measured, None)[0] > 0
    assert aim().promise(twin, measured, twin)[0] == 0


def test_what_breaks_a_limit_adds_nothing_and_leads_nowhere():
    measured = belief((0.5, 3.0), (0.1, 0.1), (0.4, 1.0))
    assert aim().promise(belief((0.15, 0.2)), measured, None)[0] == 0
    leaders = aim().leaders(measured, 2, np.random.default_rng(0))
    assert set(leaders) == {0, 2}


def test_standing_tells_near_misses_apart():
    measured = belief((0.5, 2.0), (0.3, 1.0), (0.2, 3.0))
    far, near, beyond = aim().standing(belief((0.3, 2.5), (0.49, 2.1), (0.6, 2.0)), measured)
    assert far < near < 0 < beyond


def test_policies_are_rewarded_by_front():
    def trial(number, *figures):
        named = dict(zip(("accuracy", "latency@board"), map(Figure, figures), strict=True))
        architecture = Architecture("x", (("n", number),))
        return concluded(Trial(number, Proposal(architecture)), OBJECTIVES[:2], named)

    trials = [trial(0, 0.9, 2.0), trial(1, 0.8, 1.0), trial(2, 0.7, 1.5), trial(3, 0.1, 0.1)]
    assert trials[3].status is TrialStatus.INVALID
    assert aim().merits(trials).tolist() == [0, 0, -1, -4]


def fate(trial):
    """Wide kernels are accurate and slow, in the first stages above all; other decisions hardly matter."""
    sizes = [value for name, value in trial.architecture.decisions if name.endswith("kernel")]
    wide = sum((size > 3) / (place + 1) for place, size in enumerate(sizes))
    slow = sum((size > 3) * (place + 1) for place, size in enumerate(sizes))
    figures = {"accuracy": Figure(0.5 + 0.1 * wide), "latency@board": Figure(1.0 + slow)}
    return concluded(trial, OBJECTIVES[:2], figures)


def test_its_front_is_wider_than_that_of_a_search_for_reward_or_by_chance():
    problem = Problem(SPACE, OBJECTIVES[:2])

    def volume(strategy):
        trials = conduct(strategy, 30, 1, 1, fate)
        return hypervolume([losses(problem.objectives, t) for t in trials], (-0.4, 40.0))

    front = volume(Controller(problem, ControllerOptions(aim="front"), 0))
    assert front > volume(Controller(problem, ControllerOptions(), 0))
    assert front > volume(Random(problem, RandomOptions(), 0))


def test_the_front_is_found_under_noise_and_nothing_is_measured_again():
    problem = Problem(SPACE, OBJECTIVES[:2])

    def noisy(trial):
        exact = fate(trial)
        figures = {label: Figure(value, 0.05 * value) for label, value in exact.score.values.items()}
        return concluded(trial, problem.objectives, figures)

    trials = conduct(Controller(problem, ControllerOptions(aim="front"), 0), 40, 1, 1, noisy)
    assert len({trial.architecture for trial in trials}) == 40
    assert len(pareto_front(problem.objectives, trials)) >= 5
