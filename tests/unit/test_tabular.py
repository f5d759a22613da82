"""Tables, virtual devices, and the comparison of strategies on them."""

import csv
import itertools
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from hilnas.cli.app import app
from hilnas.cli.bench import make_contest, parse_noise, parse_strategies
from hilnas.objectives import Figure, Objective
from hilnas.options import OptionsError
from hilnas.strategies import Problem
from hilnas.strategies.random import Random, RandomOptions
from hilnas.testing.bench import Entrant, run_contest
from hilnas.testing.outcomes import concluded
from hilnas.testing.tabular import (
    TableError,
    TableEstimator,
    TableEstimatorOptions,
    TableSpace,
    TableTask,
    read_table,
)
from hilnas.testing.virtual import FarmConditions, VirtualFarm
from hilnas.trial import TrialStatus

ROWS = np.array(list(itertools.product(range(3), range(4), range(2), range(3))))


def accuracy_of(rows):
    return 60 + 10 * (rows[:, 0] == 1) + 3 * rows[:, 1] * rows[:, 2] + rows[:, 3]


def cost_of(rows):
    return 1.0 + rows[:, 0] + 2.0 * rows[:, 1] + rows[:, 2]


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "table.npz"
    np.savez(path, arch=ROWS, acc=accuracy_of(ROWS), ms=cost_of(ROWS), three=np.zeros((len(ROWS), 3)))
    return path


@pytest.fixture
def sparse_csv(tmp_path):
    """A quarter of the combinations, with words and big numbers for choices."""
    path = tmp_path / "table.csv"
    chosen = ROWS[np.random.default_rng(0).permutation(len(ROWS))[: len(ROWS) // 4]]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["op", "width", "se", "depth", "top1", "ms"])
        for row, accuracy, cost in zip(chosen, accuracy_of(chosen) / 100, cost_of(chosen), strict=True):
            writer.writerow(
                [["conv", "pool", "skip"][row[0]], 32 * (1 + row[1]), row[2], row[3], accuracy, cost]
            )
    return path


def contest_of(path, costs=("ms",), form="mnasnet", **settings):
    accuracy = "acc" if path.suffix == ".npz" else "top1"
    given = {
        "arch": [],
        "target": None,
        "weight": None,
        "cost_floor": None,
        "accuracy_floor": None,
        **settings,
    }
    return make_contest(path, accuracy, list(costs), form=form, **given)


def test_a_full_table_is_a_free_space(npz):
    space = TableSpace(read_table(npz, ["acc"]))
    assert space.is_free
    assert space.size == len(ROWS)
    for row in (0, 17, len(ROWS) - 1):
        architecture = space.of_row(row)
        assert space.row(architecture) == row
        assert space.table.values(row) == ROWS[row].tolist()


def test_a_sparse_table_narrows_choices(sparse_csv):
    space = TableSpace(read_table(sparse_csv, ["top1", "ms"]))
    assert not space.is_free
    assert [decision.name for decision in space.decisions] == ["op", "width", "se", "depth"]
    assert space.decisions[1].choices == (32, 64, 96, 128)
    generator = np.random.default_rng(0)
    for _ in range(50):
        chosen = {}
        while (decision := space.next_decision(chosen)) is not None:
            choices = space.allowed(decision, chosen)
            chosen[decision.name] = choices[int(generator.integers(len(choices)))]
        assert 0 <= space.row(space.architecture(chosen)) < space.size
        mutant = space.mutate(space.sample(generator), generator)
        assert space.check(mutant) == mutant


def test_unfit_rows_are_left_out_and_lines_are_kept(tmp_path):
    path = tmp_path / "t.npz"
    accuracy = np.array([50.0, np.nan, 70.0, 80.0])
    np.savez(path, arch=np.array([[0, 1], [1, 1], [0, 1], [1, 0]]), acc=accuracy)
    table = read_table(path, ["acc"])
    assert table.lines.tolist() == [0, 3]
    assert table.columns["acc"].tolist() == [50.0, 80.0]


@pytest.mark.parametrize(
    ("columns", "arch", "words"),
    [
        (["acd"], (), 'did you mean "acc"'),
        (["three"], (), r"\[144?, 3\]|numbers \[72\]"),
        (["acc"], ("x",), 'no column "x"'),
    ],
)
def test_a_wrong_column_is_named(npz, columns, arch, words):
    with pytest.raises(TableError, match=words):
        read_table(npz, columns, arch)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"a,b\n1\n", b"a,a\n1,2\n"])
@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_a_torn_table_is_refused_in_words(tmp_path, content, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"t\.(npz|csv)"):
        read_table(path, ["a"])


def test_what_is_no_accuracy_is_refused(tmp_path):
    path = tmp_path / "t.npz"
    np.savez(path, arch=ROWS, acc=cost_of(ROWS) * 1000)
    with pytest.raises(TableError, match="no accuracy"):
        _ = contest_of(path, ()).rewards


def test_a_task_and_an_estimator_of_a_table(npz):
    task = TableTask()
    assert task.shape == (1, 8, 8)
    space = TableSpace(read_table(npz, ["acc"]))
    exact = TableEstimator(TableEstimatorOptions(path=npz, accuracy="acc"))
    assert exact.estimate(space.of_row(5), space, task, 0).estimate.accuracy == accuracy_of(ROWS)[5] / 100
    noisy = TableEstimator(TableEstimatorOptions(path=npz, accuracy="acc", noise=0.02))
    drawn = [noisy.estimate(space.of_row(5), space, task, seed).estimate.accuracy for seed in range(200)]
    assert np.std(drawn) == pytest.approx(0.02, rel=0.2)
    assert drawn[0] == noisy.estimate(space.of_row(5), space, task, 0).estimate.accuracy


def test_rewards_are_those_of_the_objectives(npz):
    contest = contest_of(npz, target=4.0)
    expected = accuracy_of(ROWS) / 100 * (cost_of(ROWS) / 4.0) ** -0.07
    assert contest.rewards == pytest.approx(expected)
    hard = contest_of(npz, form="hard", target=4.0)
    assert hard.rewards == pytest.approx(accuracy_of(ROWS) / 100 / np.maximum(1, cost_of(ROWS) / 4.0))
    absolute = contest_of(npz, form="absolute", target=4.0)
    assert absolute.rewards == pytest.approx(accuracy_of(ROWS) / 100 - 0.1 * np.abs(cost_of(ROWS) / 4.0 - 1))
    assert contest_of(npz).objectives[1].target == np.median(cost_of(ROWS))


def test_floors_keep_nets_that_do_nothing_from_winning(npz):
    free = contest_of(npz, weight=-2.0)
    assert cost_of(ROWS)[np.argmax(free.rewards)] == cost_of(ROWS).min()
    floored = contest_of(npz, weight=-2.0, cost_floor=20.0)
    assert accuracy_of(ROWS)[np.argmax(floored.rewards)] == accuracy_of(ROWS).max()
    limited = contest_of(npz, weight=-2.0, accuracy_floor=0.75)
    assert np.isneginf(limited.rewards[accuracy_of(ROWS) < 75]).all()
    with pytest.raises(TableError, match="accuracy floor"):
        _ = contest_of(npz, accuracy_floor=0.99).rewards


def simulate(npz, count, **conditions):
    space = TableSpace(read_table(npz, ["acc"]))
    objectives = (Objective(quantity="accuracy"),)

    def truth(architecture):
        return {"accuracy": float(accuracy_of(ROWS)[space.row(architecture)]) / 100}

    strategy = Random(Problem(space, objectives), RandomOptions(), 0)
    return VirtualFarm(strategy, objectives, truth, FarmConditions(**conditions), 0).run(count)


def test_eight_devices_are_nearly_eight_times_as_fast(npz):
    alone = simulate(npz, 70)
    eight = simulate(npz, 70, devices=8)
    assert alone.makespan_s == pytest.approx(70 * 120, rel=0.2)
    assert 5.5 < alone.makespan_s / eight.makespan_s <= 8.0
    assert [t.architecture for t in eight.trials] == [t.architecture for t in alone.trials]


def test_a_straggler_does_not_keep_the_farm_waiting(npz):
    lagging = simulate(npz, 70, devices=8, straggler_share=0.05)
    waited_for = simulate(npz, 70, devices=8, straggler_share=0.05, patience=1e9)
    assert lagging.makespan_s < 0.7 * waited_for.makespan_s


def test_failures_invalids_and_noise_come_as_often_as_asked(npz):
    outcome = simulate(npz, 70, failure_share=0.3, invalid_share=0.3, accuracy_noise=0.01)
    statuses = [trial.status for trial in outcome.trials]
    assert 0.15 < statuses.count(TrialStatus.FAILED) / 70 < 0.45
    assert 0.1 < statuses.count(TrialStatus.INVALID) / 70 < 0.4
    scored = [trial for trial in outcome.trials if trial.score is not None]
    assert all(trial.score.reward_se == pytest.approx(0.01) for trial in scored)
    assert all(trial.final for trial in outcome.trials)


def test_an_outcome_beyond_a_limit_is_invalid(npz):
    space = TableSpace(read_table(npz, ["acc"]))
    objectives = (Objective(quantity="accuracy", limit=0.5),)
    trial = simulate(npz, 1).trials[0]
    assert concluded(trial, objectives, {"accuracy": Figure(0.4)}).status is TrialStatus.INVALID
    assert space.size == 72


def test_random_search_has_the_regret_it_must_have(npz):
    """After n draws without repeats, the expected best follows from the table alone."""
    contest = contest_of(npz, ())
    results = run_contest(
        contest, [Entrant("random", "random")], [10, 40], range(300), FarmConditions(), workers=1
    )
    generator = np.random.default_rng(0)
    best = contest.rewards.max()
    for budget in (10, 40):
        drawn = [generator.permutation(contest.rewards)[:budget].max() for _ in range(4000)]
        expected = 100 * (best - np.mean(drawn)) / best
        assert results.regrets("random", budget).mean() == pytest.approx(expected, rel=0.25)
    rows = results.to_json()["results"]
    assert [row["budget"] for row in rows] == [10, 40]
    assert rows[0]["regret_percent_mean"] > rows[1]["regret_percent_mean"]
    assert np.all(np.diff(results.curve("random")) <= 0)


def test_the_command_prints_what_scripts_want(npz, tmp_path):
    arguments = ["bench", "strategies", "--table", str(npz), "--accuracy", "acc", "--cost", "ms"]
    arguments += [
        "--strategies",
        "random,evolution:population=5:tournament=2",
        "--budgets",
        "10,20",
        "--seeds",
        "3",
    ]
    plot = tmp_path / "regret.svg"
    done = CliRunner().invoke(app, [*arguments, "--workers", "1", "--json", "--plot", str(plot)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {row["strategy"] for row in found["results"]} == {"random", "evolution:population=5:tournament=2"}
    keys = {"regret_percent_mean", "regret_percent_se", "regret_percent_median", "regret_percent_p90"}
    keys |= {"strategy", "budget", "optimum_share", "top10_share", "seconds_per_proposal"}
    keys |= {"hypervolume_percent_mean", "hypervolume_percent_se"}
    assert keys <= set(found["results"][0])
    best = found["best"]["random"]
    assert ROWS[best["index"]].tolist() == best["arch"]
    assert best["accuracy"] == accuracy_of(ROWS)[best["index"]]
    assert best["cost"] == cost_of(ROWS)[best["index"]]
    assert plot.read_text().startswith("<svg")
    plain = CliRunner().invoke(app, [*arguments, "--workers", "1"])
    assert "Regret" in plain.output


def test_the_whole_table_has_the_whole_front(npz):
    contest = contest_of(npz)
    entrants = [Entrant("random", "random")]
    results = run_contest(
        contest, entrants, [5, 20, len(ROWS)], range(3), FarmConditions(failure_share=0.0), workers=1
    )
    few, more, all_ = (results.volumes("random", budget).mean() for budget in results.budgets)
    assert 0 < few < more < all_ == pytest.approx(100)
    volume = contest.volume([0, 1])
    accuracy, cost = accuracy_of(ROWS), cost_of(ROWS)
    sides = [
        ((a - accuracy.min()) / np.ptp(accuracy), (cost.max() - c) / np.ptp(cost))
        for a, c in zip(accuracy[:2], cost[:2], strict=True)
    ]
    union = sum(a * c for a, c in sides) - min(a for a, _ in sides) * min(c for _, c in sides)
    assert volume == pytest.approx(union)


def test_what_cannot_be_written_or_aimed_at_is_said_before_anything_runs(npz):
    arguments = ["bench", "strategies", "--table", str(npz), "--accuracy", "acc", "--cost", "ms"]
    for wrong, words in (
        (["--plot", "/nowhere/x.svg"], "no folder /nowhere"),
        (["--target", "-3"], "target"),
    ):
        failed = CliRunner().invoke(app, [*arguments, "--seeds", "1000", *wrong])
        assert isinstance(failed.exception, OptionsError)
        assert words in str(failed.exception)


def test_where_all_is_equal_there_is_no_rank_correlation(tmp_path, recwarn):
    path = tmp_path / "same.npz"
    np.savez(path, arch=ROWS, acc=np.full(len(ROWS), 0.5))
    results = run_contest(contest_of(path, ()), [Entrant("rl", "rl")], [12], [0], FarmConditions(), workers=1)
    assert results.seeds[0].rank_correlation is None
    assert results.regrets("rl", 12).tolist() == [0.0]
    assert not [warning for warning in recwarn if "onstant" in str(warning.message)]


def test_a_sparse_table_is_searched_by_all(sparse_csv):
    contest = contest_of(sparse_csv)
    names = [
        "random",
        "evolution",
        "local-search",
        "generative",
        "progressive",
        "rl",
        "tpe",
        "nsga2",
        "netadapt",
    ]
    results = run_contest(contest, [Entrant(n, n) for n in names], [18], [0], FarmConditions(), workers=1)
    assert len(contest.table) == 18
    for name in names:
        assert results.regrets(name, 18)[0] == 0.0, f"{name} did not exhaust a table of 18 rows"


def test_words_for_strategies_and_noise():
    entrants = parse_strategies("rl, evolution:population=20:tournament=5,mine.module:Class:x=1")
    assert [e.name for e in entrants] == ["rl", "evolution", "mine.module:Class"]
    assert entrants[1].settings == {"population": 20, "tournament": 5}
    assert entrants[2].settings == {"x": 1}
    assert parse_noise("cost=5,accuracy=0.5") == {"cost_noise": 0.05, "accuracy_noise": 0.005}
    for wrong in ("speed=3", "cost=much", "5"):
        with pytest.raises(OptionsError, match="cost=5"):
            parse_noise(wrong)
    for wrong in ("", "rl,rl", "rl:a=1:model"):
        with pytest.raises(OptionsError, match="--strategies"):
            parse_strategies(wrong)
