import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from hilnas.objectives import Objective
from hilnas.options import OptionsError
from hilnas.spaces import Decision
from hilnas.strategies import Problem
from hilnas.strategies.common import architectures
from hilnas.strategies.netadapt import NetAdapt, NetAdaptOptions
from hilnas.strategies.netadapt_changes import changes_by_decision, largest, seed_architecture
from hilnas.strategies.netadapt_costs import Costs
from hilnas.trial import Score, TrialStatus
from tests.unit.strategies.toys import (
    ACCURACY,
    BOTH,
    LATENCY,
    NETS,
    WORDS,
    failed,
    figures,
    invalid,
    letters,
    measured,
    scored,
    search,
)  # fmt: skip
from tests.unit.test_spaces import Plain

PROBLEM = Problem(NETS, BOTH)
LARGEST = NETS.architecture({"width": 32, "depth": 3, "block1.kernel": 7, "block2.kernel": 7, "block3.kernel": 7, "se": True, "activation": "hswish"})  # fmt: skip


def latency(net):
    return figures(net)["latency@board"].value


def accuracy(net):
    return figures(net)["accuracy"].value


def test_the_seed_is_the_largest_or_what_is_asked(tmp_path):
    assert seed_architecture(NETS, None) == LARGEST
    assert seed_architecture(NETS, {"width": 8})["width"] == 8
    assert seed_architecture(NETS, {"depth": 1}).get("block2.kernel") is None
    file = tmp_path / "net.json"
    some = list(architectures(NETS))[100]
    file.write_text(json.dumps(some.to_json()))
    assert seed_architecture(NETS, file) == some
    assert largest((32, 8, 16)) == 32
    assert largest(("small", "big")) == "big"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"widht": 8}, 'seed_architecture.*no decision "widht".*did you mean "width"'),
        ({"width": 9}, r'seed_architecture.*"width" cannot be 9: choose one of \[8, 16, 32\]'),
        ({"depth": 1, "block3.kernel": 3}, "seed_architecture.*leave it out"),
        ("/nowhere/net.json", "seed_architecture.*cannot read /nowhere/net.json"),
    ],
)
def test_a_wrong_seed_is_named(asked, message):
    with pytest.raises(OptionsError, match=message):
        NetAdapt(PROBLEM, NetAdaptOptions(seed_architecture=asked), 0)


def test_a_file_that_is_no_net_is_named(tmp_path):
    for text in ("{", "[]"):
        (tmp_path / "net.json").write_text(text)
        with pytest.raises(OptionsError, match=r"net\.json"):
            seed_architecture(NETS, tmp_path / "net.json")


def test_costs_step_down_until_the_target_is_met():
    strategy, _ = search(NetAdapt, PROBLEM, 200, measured)
    costs = [latency(net) for net in strategy.trail]
    assert strategy.trail[0] == LARGEST
    assert len(costs) > 4
    assert all(after <= before * 0.95 for before, after in itertools.pairwise(costs))
    assert costs[-2] > LATENCY.target >= costs[-1]
    assert not strategy.stepping


def test_each_iteration_changes_one_decision_and_keeps_the_most_accurate():
    strategy, _ = search(NetAdapt, PROBLEM, 200, measured, decisions=99, decay=1.0, in_flight=1, group=1)
    for before, after in zip(strategy.trail, strategy.trail[1:], strict=False):
        candidates = []
        for changes in changes_by_decision(NETS, before).values():
            enough = [net for _, net in changes if latency(net) <= 0.9 * latency(before)]
            candidates += enough[:1]
        assert after in candidates
        assert accuracy(after) == max(accuracy(net) for net in candidates)


def test_the_ratio_weighs_accuracy_by_what_is_saved():
    strategy, _ = search(NetAdapt, PROBLEM, 30, measured, decisions=99, pick="ratio", in_flight=1, group=1)
    before, after = strategy.trail[:2]
    candidates = [
        next(net for _, net in changes if latency(net) <= 0.9 * latency(before))
        for changes in changes_by_decision(NETS, before).values()
        if any(latency(net) <= 0.9 * latency(before) for _, net in changes)
    ]
    loss = {net: (accuracy(before) - accuracy(net)) / (latency(before) - latency(net)) for net in candidates}
    assert loss[after] == pytest.approx(min(loss.values()))


def test_a_further_change_is_measured_only_when_the_nearer_one_saves_too_little():
    strategy = NetAdapt(PROBLEM, NetAdaptOptions(step=0.6, decisions=99), 0)
    seen = []
    for number in range(20):
        net = strategy.propose([]).architecture
        seen.append(net)
        strategy.observe([measured(scored(number, net, 0.0))])
    narrower = [net["width"] for net in seen[1:] if replace_width(net, 32) == LARGEST]
    assert narrower == [16, 8]


def replace_width(net, width):
    return NETS.architecture({**dict(net.decisions), "width": width})


def test_an_invalid_seed_is_stepped_down_from_by_its_measured_cost():
    limited = (ACCURACY, Objective(quantity="latency", device_class="board", limit=8.0))

    def untrained_beyond_the_limit(trial):
        end = measured(trial, limited)
        return replace(end, estimate=None) if end.status is TrialStatus.INVALID else end

    strategy, trials = search(NetAdapt, Problem(NETS, limited), 150, untrained_beyond_the_limit)
    assert trials[0].status is TrialStatus.INVALID
    assert latency(strategy.trail[-1]) <= 8.0
    assert sum(trial.status is TrialStatus.SCORED for trial in trials[-50:]) > 25


def test_a_seed_that_failed_is_left_for_anything_measured():
    strategy = NetAdapt(PROBLEM, NetAdaptOptions(), 0)
    seed = strategy.propose([]).architecture
    strategy.observe([failed(0, seed)])
    for number in range(1, 12):
        strategy.observe([measured(scored(number, strategy.propose([]).architecture, 0.0))])
    assert len(strategy.trail) > 1


def test_a_cost_without_a_goal_is_lowered_to_the_end():
    objectives = (ACCURACY, Objective(quantity="latency", device_class="board"))
    strategy, _ = search(NetAdapt, Problem(NETS, objectives), 300, lambda trial: measured(trial, objectives))
    assert strategy.trail[-1]["width"] == 8
    assert latency(strategy.trail[-1]) < 2.0
    assert not strategy.stepping


def test_without_costs_the_best_is_refined():
    strategy, trials = search(
        NetAdapt, WORDS, 120, letters, seed_architecture={f"d{n}": "a" for n in range(10)}
    )
    assert not strategy.stepping
    assert (
        np.mean([t.score.reward for t in trials[-30:]]) > np.mean([t.score.reward for t in trials[:30]]) + 0.2
    )


def test_a_change_that_raised_the_cost_is_not_tried_again():
    strides = Plain(Decision("stride", (1, 2, 3)), Decision("width", tuple(range(1, 40))))

    def wider_is_slower_and_a_stride_is_faster(trial):
        net = trial.architecture
        values = {"accuracy": 0.5 + net["width"] / 100, "latency@board": net["width"] / net["stride"]}
        return replace(scored(trial.number, net, 0.5), score=Score(0.5, 0.0, values))

    problem = Problem(strides, BOTH)
    strategy, trials = search(
        NetAdapt, problem, 24, wider_is_slower_and_a_stride_is_faster, in_flight=1, group=1
    )
    assert len(strategy.trail) > 4
    assert strategy.stepping
    assert sum(trial.architecture["stride"] < 3 for trial in trials) == 2


def test_static_features_tell_which_changes_are_worth_measuring():
    class Counted(Plain):
        def features(self, architecture):
            return {"macs": 10.0 / architecture["stride"] * architecture["width"]}

    space = Counted(Decision("stride", (1, 2)), Decision("width", (8, 16, 32)), Decision("act", ("a", "b")))
    start = space.architecture({"stride": 1, "width": 16, "act": "a"})
    found = {
        name: [value for value, _ in changes] for name, changes in changes_by_decision(space, start).items()
    }
    assert found == {"stride": [2], "width": [8], "act": ["b"]}
    bare = Plain(*space.decisions)
    start = bare.architecture(dict(start.decisions))
    found = {
        name: [value for value, _ in changes] for name, changes in changes_by_decision(bare, start).items()
    }
    assert found == {"stride": [2], "width": [8, 32], "act": ["b"]}


def test_costs_know_their_goals():
    tight = Objective(quantity="latency", device_class="board", target=4.0, limit=2.0)
    fast, slow = (measured(scored(0, net, 0.0), BOTH) for net in (next(architectures(NETS)), LARGEST))
    assert Costs((ACCURACY, tight)).unmet(slow) == [tight]
    assert Costs(BOTH).unmet(fast) == []
    assert Costs(BOTH).saving(slow, fast) == pytest.approx(1 - latency(fast.architecture) / latency(LARGEST))
    assert Costs(BOTH).saving(slow, invalid(1, LARGEST)) is None
    assert Costs(BOTH).saving(failed(1, LARGEST), fast) == 1.0
