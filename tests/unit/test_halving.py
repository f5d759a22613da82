"""Who goes on in successive halving, in groups and asynchronously."""

import numpy as np
import pytest

from hilnas.estimators.halving import Halving, Plan


def _conduct(plan, quality, order=None):
    """Train all trials of `quality` (trial to accuracy) as decisions say; return the rungs that each came to.

    `order` shuffles which result comes next.
    """
    halving = Halving(plan)
    generator = np.random.default_rng(order)
    for trial in quality:
        halving.came(trial)
    running = {trial: plan.first_rung(trial) for trial in quality}
    reached = {}
    while running:
        trial = sorted(running)[int(generator.integers(len(running)))] if order is not None else min(running)
        rung = running.pop(trial)
        reached[trial] = rung
        halving.result(trial, rung, quality[trial])
        if rung == plan.rungs - 1:
            halving.gone(trial)
        while decided := halving.decisions():
            for other, goes_on in decided.items():
                if goes_on:
                    running[other] = reached[other] + 1
                else:
                    halving.gone(other)
    return reached


@pytest.mark.parametrize("order", [None, 1, 2, 3])
def test_groups_come_out_the_same_whoever_is_quick(order):
    quality = {trial: (trial * 7 % 9) / 10 for trial in range(9)}
    reached = _conduct(Plan(rungs=3, eta=3, group=9), quality, order)
    ranked = sorted(quality, key=lambda trial: -quality[trial])
    assert [reached[trial] for trial in ranked] == [2, 1, 1, 0, 0, 0, 0, 0, 0]


def test_groups_do_not_wait_for_each_other():
    plan, halving = Plan(rungs=2, eta=2, group=2), Halving(Plan(rungs=2, eta=2, group=2))
    for trial in range(4):
        halving.came(trial)
    halving.result(0, 0, 0.5)
    assert halving.decisions() == {}
    halving.result(1, 0, 0.6)
    assert halving.decisions() == {1: True, 0: False}
    assert plan.first_rung(3) == 0


def test_a_group_waits_for_who_is_still_to_be_proposed():
    halving = Halving(Plan(rungs=2, eta=2, group=3))
    halving.came(0)
    halving.came(1)
    halving.result(0, 0, 0.5)
    halving.came(7)  # something else is under way, which may bring the third one about
    halving.result(1, 0, 0.6)
    assert halving.decisions() == {}
    halving.came(2)
    halving.gone(2)  # it was too large for the device
    assert halving.decisions() == {1: True, 0: False}


def test_the_last_group_may_be_short():
    assert _conduct(Plan(rungs=2, eta=2, group=4), {0: 0.1, 1: 0.2, 2: 0.3}) == {0: 0, 1: 1, 2: 1}


@pytest.mark.parametrize("group", [4, 9])
@pytest.mark.parametrize("order", range(6))
def test_a_state_that_is_made_again_from_results_decides_as_it_would_have(group, order):
    quality = {trial: (trial * 7 % 9) / 10 for trial in range(9)}
    plan = Plan(rungs=3, eta=3, group=group)
    whole = _conduct(plan, quality)
    halving, generator = Halving(plan), np.random.default_rng(order)
    for trial in quality:
        halving.came(trial)
    results, done, running = [], {}, dict.fromkeys(quality, 0)
    while running:
        trial = int(generator.choice(sorted(running)))
        results.append((trial, running.pop(trial)))
        # The host is killed after every result: all that is left are results, and who has ended.
        halving = Halving(plan)
        for known, accuracy in quality.items():
            halving.came(known)
            mine = [rung for other, rung in results if other == known]
            for rung in mine:
                halving.result(known, rung, accuracy)
            if known in done or plan.rungs - 1 in mine:
                halving.gone(known)
                done.setdefault(known, plan.rungs - 1)
        while decided := halving.decisions():
            for other, goes_on in decided.items():
                rung = max(rung for one, rung in results if one == other)
                if goes_on:
                    running[other] = rung + 1
                else:
                    done[other] = rung
                    halving.gone(other)
    assert done == whole


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_asynchronous_promotion_finds_the_best_and_ends(order):
    quality = {trial: float(value) for trial, value in enumerate(np.random.default_rng(0).random(40))}
    reached = _conduct(Plan(rungs=3, eta=3, group=None, patience=12), quality, order)
    assert reached.keys() == quality.keys()
    best = max(quality, key=quality.get)
    assert reached[best] == 2
    assert sum(rung == 2 for rung in reached.values()) < 15
    mean = [np.mean([quality[t] for t in reached if reached[t] >= rung]) for rung in range(3)]
    assert mean == sorted(mean)


def test_one_that_waits_is_promoted_when_others_turn_out_worse():
    halving = Halving(Plan(rungs=2, eta=3, group=None, patience=5))
    for trial in range(9):
        halving.came(trial)
    halving.result(0, 0, 0.5)
    halving.result(1, 0, 0.4)
    assert halving.decisions() == {}
    halving.result(2, 0, 0.3)
    assert halving.decisions() == {0: True}
    for trial, accuracy in ((3, 0.2), (4, 0.1)):
        halving.result(trial, 0, accuracy)
    halving.result(5, 0, 0.45)
    assert halving.decisions() == {5: True}
    halving.result(6, 0, 0.05)
    assert halving.decisions() == {1: False}  # five have gone by
    assert 1 not in halving.decisions()


def test_brackets_begin_at_rungs_in_turn():
    plan = Plan(rungs=3, eta=2, group=2, brackets=3)
    assert [plan.first_rung(trial) for trial in range(8)] == [0, 0, 1, 1, 2, 2, 0, 0]
    reached = _conduct(plan, {trial: trial / 10 for trial in range(6)})
    assert reached == {0: 0, 1: 2, 2: 1, 3: 2, 4: 2, 5: 2}
