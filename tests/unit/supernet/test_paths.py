"""Which nets a training step runs."""

from collections import Counter

import pytest

from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.supernet.paths import Paths

SPACE = MBConv(
    (1, 16, 16),
    4,
    MBConvOptions(resolutions=[1.0], kernels=[3, 5, 7], stage_depths=[[1, 2], [1, 2], [1]]),
)


def _paths(sampling, count=2, steps=100, seed=0):
    return Paths(SPACE, sampling, count, steps, seed)


@pytest.mark.parametrize("sampling", ["sandwich", "shrinking", "uniform", "fair"])
def test_steps_follow_from_the_seed_alone(sampling):
    first, second = _paths(sampling), _paths(sampling)
    assert [first.at(step) for step in (90, 3, 50)] == [second.at(step) for step in (90, 3, 50)]
    if sampling != "shrinking":
        assert first.at(3) != first.at(4)
    assert first.at(95) != _paths(sampling, seed=1).at(95)


def test_a_sandwich_has_both_ends():
    smallest, largest = SPACE.extremes()
    assert _paths("sandwich", count=3).at(7)[:2] == [largest, smallest]
    assert len(_paths("sandwich", count=3).at(7)) == 5


def test_fair_steps_take_each_choice_equally_often():
    paths = _paths("fair").at(5)
    always = [d for d in SPACE.decisions if d.parent is None]
    for decision in always:
        taken = Counter(architecture[decision.name] for architecture in paths)
        counts = [taken[choice] for choice in decision.choices]
        assert sum(counts) == len(paths)
        assert max(counts) - min(counts) <= 1


def test_shrinking_sets_ever_more_decisions_free():
    paths = _paths("shrinking", count=40)
    _, largest = SPACE.extremes()
    assert paths.at(0) == [largest] * 1
    assert paths.starts == sorted(set(paths.starts))
    free_before = set()
    for start in paths.starts[1:]:
        differing = {
            name
            for architecture in paths.at(start)
            for name, value in largest.decisions
            if architecture.get(name) not in (None, value)
        }
        assert free_before < differing
        free_before = differing
    assert paths.phase(99) == len(paths.starts) - 1
