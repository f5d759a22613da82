"""Estimators and searches before all measuring, from the command line and in searches: real training, real agents."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hilnas.search.history import rebuild
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.store import ModelFiles
from hilnas.tasks.digits import Digits, DigitsOptions
from tests.integration.searches import QUICK, ROOT, events, finish, start

SPACE = {
    "name": "mbconv", "resolutions": [1.0], "kernels": [3, 5], "stem_widths": [8],
    "stage_widths": [[8], [8, 16]], "stage_depths": [[1], [1, 2]], "stage_strides": [1, 2],
    "expansions": [1, 2], "squeeze_excite": [False], "activations": ["relu6"], "head_width": 16,
}  # fmt: skip
SUPERNET = {
    "name": "supernet",
    "epochs": 3,
    "batch": 64,
    "paths": 1,
    "recalibration": 256,
    "checkpoint_s": 0.2,
}


def recipe(**sections):
    return {
        "search": {"name": "small", "trials": 4, "in_flight": 4, "group": 2},
        "task": {"name": "digits", "size": 16},
        "space": SPACE,
        "strategy": {"name": "random"},
        "estimator": SUPERNET,
        "objective": [{"quantity": "accuracy"}, {"quantity": "latency", "target": "1 ms"}],
        "measurement": {
            "screen": QUICK,
            "full": {**QUICK, "sessions": 2},
            "canary": {"every": 0},
        },
        "final": {"epochs": 1, "top": 0},
        **sections,
    }


def toml(data, path):
    """Write a recipe as a file has it."""
    lines = []
    for section, content in data.items():
        for table in content if isinstance(content, list) else [content]:
            lines.append(f"[[{section}]]" if isinstance(content, list) else f"[{section}]")
            lines += [f"{key} = {_value(value)}" for key, value in table.items()]
    path.write_text("\n".join(lines))
    return path


def _value(item):
    if isinstance(item, dict):
        return "{" + ", ".join(f"{key} = {_value(inner)}" for key, inner in item.items()) + "}"
    return json.dumps(item)


def hilnas(*arguments, cwd=ROOT, **env):
    return subprocess.run(
        [sys.executable, "-m", "hilnas", *map(str, arguments)],
        check=False, cwd=cwd, timeout=600, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )  # fmt: skip


def specialise(*arguments, **options):
    """`hilnas specialise`, its measurements of a tenth of a second."""
    brief = [
        f"measurement.{each}={{{', '.join(f'{k}={v}' for k, v in QUICK.items())}}}"
        for each in ("screen", "full")
    ]
    sets = [word for change in brief for word in ("--set", change)]
    return hilnas("specialise", *arguments, *sets, **options)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A search that asks a supernet."""
    folder = tmp_path_factory.mktemp("supernet") / "run"
    code, _, err = finish(start(folder, recipe()))
    assert code == 0, err
    return folder


def _history(folder):
    return rebuild(events(folder))


def test_a_search_asks_a_supernet_that_it_trains_beside_measuring(undisturbed):
    history = _history(undisturbed)
    assert all(trial.estimate.estimator == "supernet" for trial in history.trials)
    assert all(trial.estimate.model_sha256 for trial in history.trials)
    kinds = [event.kind for event in events(undisturbed)]
    assert kinds.index("measured") < kinds.index("prepared") < kinds.index("estimated")
    assert not (undisturbed / "checkpoints" / "estimator").exists()


def test_a_supernet_that_was_killed_in_training_comes_out_the_same(undisturbed, tmp_path):
    folder = tmp_path / "run"
    checkpoint = folder / "checkpoints" / "estimator"
    process = start(folder, recipe())
    deadline = time.monotonic() + 300
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "prepared" not in {event.kind for event in events(folder)}
    code, _, err = finish(start(folder, recipe()))
    assert code == 0, err
    before, after = _history(undisturbed), _history(folder)
    assert after.prepared == before.prepared
    assert [t.estimate.accuracy for t in after.trials] == [t.estimate.accuracy for t in before.trials]
    # A third session asks what is there.
    code, _, err = finish(start(folder, recipe(search={**recipe()["search"], "trials": 5})))
    assert code == 0, err
    assert [event.kind for event in events(folder)].count("prepared") == 1


def test_specialise_takes_nets_out_of_a_search(undisturbed, tmp_path):
    out = tmp_path / "nets"
    done = specialise(
        undisturbed,
        "--target",
        "5 ms",
        "--candidates",
        "12",
        "--out",
        out,
        "--fine-tune",
        "1",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["latency_ms"] <= 5
    assert row["within_target"] == row["tried"] == 12
    assert 0 <= row["test_accuracy"] <= 1
    assert row["validation_accuracy"] >= row["validation_accuracy_before"]
    assert (out / "local" / "model.tflite").read_bytes()[4:8] == b"TFL3"
    assert json.loads((out / "local" / "architecture.json").read_text()) == row["architecture"]
    assert json.loads((out / "specialised.json").read_text()) == [row]


def test_specialise_by_tables_needs_no_device(undisturbed, tmp_path):
    source = toml(recipe(), tmp_path / "recipe.toml")
    table = tmp_path / "here.jsonl"
    filled = hilnas(
        "profile", "--space", "mbconv", "--recipe", source, "--out", table, "--nets", "3", "--json",
        "--set", "measurement.screen.max_sampling_ms=50",
    )  # fmt: skip
    assert filled.returncode == 0, filled.stderr
    done = specialise( undisturbed, "--table", table, "--table", table, "--target", "5 ms", "--target", "1 ns",
        "--candidates", "12", "--out", tmp_path / "nets", "--json",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    first, second = json.loads(done.stdout)
    assert first["by_table"] == str(table)
    assert first["latency_ms"] <= 5
    assert second["model"] is None
    assert second["fastest_ms"] > second["target_ms"]
    assert (tmp_path / "nets" / "here-5ms" / "model.tflite").exists()  # one device, two targets
    shown = specialise(
        undisturbed,
        "--table",
        table,
        "--target",
        "1 ns",
        "--candidates",
        "12",
        "--out",
        tmp_path / "x",
    )
    assert "raise --target" in shown.stdout
    few = specialise( undisturbed, "--local", "--like", table, "--shots", "3", "--target", "5 ms",
        "--candidates", "12", "--out", tmp_path / "few", "--json",
    )  # fmt: skip
    assert few.returncode == 0, few.stderr
    (told,) = json.loads(few.stdout)
    assert (told["shots"], told["tried"], told["by_table"]) == (3, 12, None)
    assert told["latency_ms"] <= 5
    _darts_by(table, tmp_path)


def _darts_by(table, tmp_path):
    """A gradient-based search by the same table: what it finds is measured like anything else, and found once."""
    folder = tmp_path / "darts"
    strategy = {"name": "darts", "epochs": 1, "batch": 64, "table": str(table)}
    data = recipe(strategy=strategy, estimator={"name": "train", "epochs": 1, "subset": 64})
    code, _, err = finish(start(folder, data))
    assert code == 0, err
    history = _history(folder)
    assert all(trial.measurements and trial.estimate for trial in history.trials)
    found = json.loads(ModelFiles(folder / "weights", ".pt").get(history.prepared["strategy"]))
    assert found["expected_ms"] > 0
    assert found["target_ms"] == 1.0
    more = {**data, "search": {**data["search"], "trials": 6}}
    code, _, err = finish(start(folder, more))
    assert code == 0, err
    assert [event.kind for event in events(folder)].count("prepared") == 1
    assert len({trial.architecture for trial in _history(folder).trials}) == 6


STAGED = {"name": "multi-fidelity", "first_epochs": 1, "epochs": 4, "eta": 2, "batch": 64}


def _staged(folder):
    """What the rungs of a search were, and what came of its trials."""
    history = _history(folder)
    rungs = {
        number: [(one.rung, one.estimate.accuracy, one.checkpoint_sha256) for one in reached]
        for number, reached in history.rungs.items()
    }
    return rungs, [(t.estimate.accuracy, t.estimate.accuracy_se) for t in history.trials]


def test_only_the_best_are_trained_on_and_a_kill_changes_nothing(tmp_path):
    data = recipe(
        estimator={**STAGED, "group": 4},
        search={"name": "small", "trials": 8, "in_flight": 8, "group": 4},
        strategy={"name": "random"},
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, _, err = finish(start(whole, data))
    assert code == 0, err
    rungs, _ = _staged(whole)
    assert not list((whole / "weights").rglob("*.pt")), "nothing goes on from a rung of what has ended"
    for group in (range(4), range(4, 8)):
        assert sorted(len(rungs[number]) for number in group) == [1, 1, 2, 3]
        first = {number: rungs[number][0][1] for number in group}
        longest = max(group, key=lambda number: len(rungs[number]))
        assert first[longest] >= sorted(first.values())[-2]
    for kind in ("rung", "estimated"):
        code, _, err = finish(start(killed, data, kind, "after"))
        assert code == -signal.SIGKILL, err
    before = [event for event in events(killed) if event.kind == "rung"]
    code, _, err = finish(start(killed, data))
    assert code == 0, err
    assert _staged(killed) == _staged(whole)
    after = [event for event in events(killed) if event.kind == "rung"]
    assert after[: len(before)] == before  # what was done is not done again


def test_an_asynchronous_search_ends_with_all_its_trials(tmp_path):
    data = recipe(
        estimator={**STAGED, "asynchronous": True},
        search={"name": "small", "trials": 7, "in_flight": 4, "group": 2},
    )
    code, _, err = finish(start(tmp_path, data))
    assert code == 0, err
    history = _history(tmp_path)
    assert len(history.trials) == 7
    assert all(trial.estimate is not None for trial in history.trials)
    assert max(len(reached) for reached in history.rungs.values()) >= 2


def test_a_supernet_by_itself_goes_on_after_a_kill(tmp_path):
    source = toml(recipe(), tmp_path / "recipe.toml")
    whole = hilnas("supernet", source, "-o", tmp_path / "whole.pt", "--json")
    assert whole.returncode == 0, whole.stderr
    out, checkpoint = tmp_path / "killed.pt", tmp_path / "killed.pt.checkpoint"
    command = [sys.executable, "-m", "hilnas", "supernet", str(source), "-o", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 300
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not out.exists()
    again = hilnas("supernet", source, "-o", out)
    assert again.returncode == 0, again.stderr
    assert out.read_bytes() == (tmp_path / "whole.pt").read_bytes()
    assert not checkpoint.exists()
    refused = hilnas("supernet", source, "-o", out)
    assert refused.returncode == 2
    assert "is there already" in refused.stderr


@pytest.mark.parametrize(
    ("source", "arguments", "what"),
    [
        ("none.pt", ["--target", "4 ms"], "cannot be read"),
        ("torn.pt", ["--target", "4 ms"], "is no supernet"),
        (".", ["--target", "4 ms"], "holds no record.sqlite"),
        ("torn.pt", ["--target", "4 bananas"], "bananas"),
        ("torn.pt", ["--target", "4 ms", "--target", "5 ms"], "1 devices and tables but 2 targets"),
    ],
)
def test_what_cannot_be_specialised_is_named(source, arguments, what, tmp_path):
    (tmp_path / "torn.pt").write_bytes(b"PK torn")
    done = specialise(source, *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert what in done.stderr
    assert "Traceback" not in done.stderr


def test_a_family_is_scaled_trained_and_measured(tmp_path):
    source = toml(recipe(), tmp_path / "recipe.toml")
    task = Digits(DigitsOptions(size=16))
    space = MBConv(task.shape, task.classes, MBConvOptions(**{k: v for k, v in SPACE.items() if k != "name"}))
    base = tmp_path / "base.json"
    base.write_text(json.dumps(space.extremes()[0].to_json()))
    command = ("scale", base, "--recipe", source, "--out", tmp_path / "family", "--json")
    done = hilnas(*command, "--target", "0.2 ms", "--target", "1 ns")
    assert done.returncode == 1, done.stderr
    small, large = json.loads(done.stdout)
    assert small["model"] is None
    assert large["screened_ms"] <= 0.2
    assert large["macs"] > space.features(space.extremes()[0])["macs"]
    assert 0 <= large["test_accuracy"] <= 1
    assert (tmp_path / "family" / "0.2ms" / "model.tflite").read_bytes()[4:8] == b"TFL3"
    assert large["latency_ms"] > 0
    refused = hilnas(*command, "--target", "4 apples")
    assert refused.returncode == 2
    assert "apples" in refused.stderr


def _only_what_is_new_is_asked(arguments, study):
    """A surrogate of the study's first five architectures would repeat those: it is judged by the sixth alone."""
    label = f"surrogate:records=['{study}'],least=5"
    done = hilnas(*arguments, "-e", label, "--architectures", "6", "--repeats", "2")
    assert done.returncode == 0, done.stderr
    (row,) = [row for row in json.loads(done.stdout)["estimators"] if row["estimator"] == label]
    assert (row["count"], row["failed"]) == (1, 5)
    assert "it has learned from this one" in row["last_failure"]


def test_a_study_tells_how_estimators_rank_and_goes_on(tmp_path):
    source = toml(recipe(), tmp_path / "recipe.toml")
    arguments = (
        "estimate",
        source,
        "-e",
        "supernet",
        "-e",
        "train:epochs=1,subset=64",
        "--out",
        tmp_path / "study",
        "--json",
    )
    done = hilnas(*arguments, "--architectures", "4")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    assert [row["estimator"] for row in first["estimators"]] == ["supernet", "train:epochs=1,subset=64"]
    assert all(row["count"] == 4 and row["seconds"] > 0 for row in first["estimators"])
    assert first["estimators"][0]["preparation_seconds"] > 0
    assert first["full"]["repeats"] is None
    more = hilnas(*arguments, "--architectures", "5", "--repeats", "2")
    assert more.returncode == 0, more.stderr
    second = json.loads(more.stdout)
    assert second["architectures"][0]["estimates"] == first["architectures"][0]["estimates"]
    assert len(second["architectures"]) == 5
    assert -1 <= second["full"]["repeats"]["kendall"] <= 1
    assert [event.kind for event in events(tmp_path / "study")].count("trained_in_full") == 10
    assert "Kendall" in (tmp_path / "study" / "estimate.html").read_text()
    other = hilnas(*arguments, "--set", "final.epochs=2")
    assert other.returncode == 2
    assert "[final] is not what the study" in other.stderr
    asked_otherwise = hilnas(*arguments, "--architectures", "5", "--set", "estimator.epochs=4")
    assert asked_otherwise.returncode == 2
    assert "supernet has settings" in asked_otherwise.stderr
    assert "begin another with --out" in asked_otherwise.stderr
    _only_what_is_new_is_asked(arguments, tmp_path / "study")
    # It is no search, and is not taken for one; but the supernet that it trained can be used.
    for command in (("report", tmp_path / "study"), ("run", source, "--out", tmp_path / "study", "--resume")):
        refused = hilnas(*command)
        assert refused.returncode in (1, 2)
        assert "study of estimators" in refused.stderr
        assert "Traceback" not in refused.stderr
    learned = toml({**recipe(), "search": {**recipe()["search"], "warm_start": [str(tmp_path / "study")]}},
                   tmp_path / "learned.toml")  # fmt: skip
    refused = hilnas("run", learned, "--out", tmp_path / "learned")
    assert refused.returncode == 2
    assert "study of estimators" in refused.stderr
    made = specialise(tmp_path / "study", "--target", "50 ms", "--candidates", "12", "-o", tmp_path / "out")
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("strategy", ["darts", "proxyless", "enas"])
def test_a_search_without_its_table_is_refused_before_it_begins(strategy, tmp_path):
    source = toml(recipe(strategy={"name": strategy}, estimator={"name": "train"}), tmp_path / "recipe.toml")
    refused = hilnas("run", source, "--out", tmp_path / "run")
    assert refused.returncode == 2
    assert "set strategy.table" in refused.stderr
    assert not (tmp_path / "run" / "record.sqlite").exists()


def test_a_study_keeps_out_of_a_searchs_folder(undisturbed, tmp_path):
    source = toml(recipe(), tmp_path / "recipe.toml")
    before = [event.kind for event in events(undisturbed)]
    refused = hilnas("estimate", source, "--out", undisturbed, "--architectures", "3")
    assert refused.returncode == 2
    assert "holds a search" in refused.stderr
    assert [event.kind for event in events(undisturbed)] == before


def test_a_supernet_of_another_split_is_refused_before_a_search_begins(undisturbed, tmp_path):
    (file,) = (undisturbed / "weights").rglob("*.pt")
    data = recipe()
    source = toml({**data, "estimator": {"name": "supernet", "file": str(file)}}, tmp_path / "recipe.toml")
    refused = hilnas("run", source, "--out", tmp_path / "run", "--seed", "5")
    assert refused.returncode == 2
    assert "was trained with search.seed" in refused.stderr
    assert not (tmp_path / "run" / "record.sqlite").exists()
    leaking = specialise(
        file, "--target", "5 ms", "-o", tmp_path / "out", "--set", "task.validation_share=0.3"
    )
    assert leaking.returncode == 2
    assert "was trained with [task]" in leaking.stderr


def test_a_device_that_does_not_come_costs_the_others_nothing(undisturbed, tmp_path):
    done = specialise( undisturbed, "--local", "--device", "absent", "--wait", "3", "--target", "50 ms",
        "--candidates", "12", "-o", tmp_path / "out", "--json", HILNAS_TOKEN="of the test",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    here, absent = json.loads(done.stdout)
    assert Path(here["model"]).read_bytes()[4:8] == b"TFL3"
    assert absent["model"] is None
    assert "absent" in absent["failure"]
