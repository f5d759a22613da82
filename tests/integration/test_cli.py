"""The command line as a person meets it."""

import errno
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hilnas.export import Int8Model, check_int8
from hilnas.store.lock import exclusive
from tests.integration.searches import ROOT

QUICK = [
    "--set", "search.trials=5", "--set", "search.in_flight=4", "--set", "search.group=2", "--set", "task.size=16",
    "--set", "space.resolutions=[1.0]", "--set", "space.kernels=[3]", "--set", "estimator.epochs=2",
    "--set", "measurement.screen={warmup_ms=0, max_warmup_ms=0, min_sampling_ms=0, remeasures=0}",
    "--set", "measurement.full={sessions=1, warmup_ms=0, max_warmup_ms=0, min_sampling_ms=0, remeasures=0}",
]  # fmt: skip


def hilnas(*arguments, cwd=ROOT, timeout=900, **environment):
    return subprocess.run(
        [sys.executable, "-m", "hilnas", *map(str, arguments)],
        check=False, cwd=cwd, timeout=timeout, capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search with real training, real export, a real agent; run once."""
    folder = tmp_path_factory.mktemp("cli")
    done = hilnas("run", *QUICK, "--set", "final.epochs=4", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "quickstart", done.stdout


def test_a_search_ends_in_a_table_and_results(finished):
    folder, out = finished
    assert "Pareto front" in out
    assert "Winner: trial" in out
    result = json.loads((folder / "result.json").read_text())
    assert result["search"]["status"] == "finished"
    assert [trial["status"] for trial in result["trials"]] == ["SCORED"] * 5
    for trial in result["trials"]:
        assert 0 <= trial["accuracy"] <= 1
        assert 0 < trial["latency_low_ms"] <= trial["latency_ms"] <= trial["latency_high_ms"]
        assert trial["peak_memory_kib"] > 1000
        assert trial["energy_mj"] is None
        assert trial["energy_reason"]
        assert trial["model_bytes"] > 1000
        assert trial["macs"] > 1000
        assert {"export", "estimate"} < set(trial["timings_s"])
    assert result["best"]["test_accuracy"] > 0.8
    assert result["devices"][0]["name"] == "local"
    assert 0 < result["device_busy_fraction"] < 1
    assert set(result["versions"]) >= {"hilnas", "torch", "git_commit"}


def test_the_winner_runs_as_its_card_says(finished):
    folder, _ = finished
    model = Int8Model(folder / "model.tflite")
    assert model.predict(np.zeros((1, 1, 16, 16), np.float32)).shape == (1, 10)
    card = (folder / "model_card.md").read_text()
    assert (
        "16x16 and 1 channel(s) (pixels of 0 to 16 times 255/16, enlarged bilinearly, rounded), then" in card
    )
    assert f"{check_int8((folder / 'model.tflite').read_bytes()).input_scale}" in card
    assert "Test accuracy of this file" in card


def test_report_makes_it_again(finished):
    folder, _ = finished
    before = (folder / "result.json").read_text()
    for name in ("result.json", "report.html", "model.tflite", "model_card.md"):
        (folder / name).unlink()
    done = hilnas("report", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "result.json").read_text() == before
    assert (folder / "report.html").stat().st_size > 5000
    assert (folder / "model.tflite").stat().st_size > 1000


def test_a_finished_search_goes_on_with_more_trials(finished, tmp_path):
    import shutil

    folder = tmp_path / "more"
    shutil.copytree(finished[0], folder)
    before = json.loads((folder / "result.json").read_text())["trials"]
    more = [*QUICK[:1], "search.trials=7", *QUICK[2:]]
    done = hilnas("run", *more, "--set", "final.epochs=4", "--out", folder, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    trials = json.loads(done.stdout)["trials"]
    assert len(trials) == 7
    assert trials[:5] == before


def test_export_of_a_saved_architecture_and_weights(finished, tmp_path):
    folder, _ = finished
    result = json.loads((folder / "result.json").read_text())
    weights = next((folder / "weights").rglob("*.pt"))
    recipe = [*QUICK[6:12]]
    output = tmp_path / "net.tflite"
    done = hilnas(
        "export", folder / "architecture.json", "--weights", weights, "-o", output, *recipe, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["macs"] == result["best"]["macs"]
    images = np.random.default_rng(0).normal(size=(16, 1, 16, 16)).astype(np.float32)
    ours, winner = Int8Model(output).predict(images), Int8Model(folder / "model.tflite").predict(images)
    assert (ours.argmax(1) == winner.argmax(1)).mean() > 0.9
    other = tmp_path / "other.pt"
    other.write_bytes(b"no weights")
    refused = hilnas("export", folder / "architecture.json", "--weights", other, "-o", output, *recipe)
    assert refused.returncode == 2
    assert "other.pt holds no weights" in refused.stderr
    assert "weights_only" not in refused.stderr, "torch advises to run whatever code the file holds"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "no-such"], 2, "there is no recipe"),
        (["run", "--set", "task.name=digets"], 2, 'did you mean "digits"'),
        (
            ["run", "--set", "objective.1.quantity=energy", "--set", "objective.1.target=1 mJ"],
            1,
            "no energy meter",
        ),
        (["run", "--set", "objective.1.device_class=pi4"], 1, 'no device of class "pi4"'),
        (["run", "keyword-spotting", "--set", "task.path=nowhere.npz"], 1, "nowhere.npz"),
        (["run", "--resume"], 2, "no search"),
        (["run", "--resume", "--out", "nothere"], 2, "there is no search in nothere to resume"),
        (
            ["run", "--out", "/proc/nothere"],
            1,
            "/proc/nothere: No such file or directory: is its folder there?",
        ),
        (["run", "nofile.toml"], 2, "give the path of a TOML file"),
        (["run", "--set", "farm.local_agent=false"], 1, "HILNAS_TOKEN"),
        (["run", "--set", "farm.devices=2"], 1, "HILNAS_TOKEN"),
        (["run", "--set", "measurement.runtime=onnx"], 1, "ai-edge-litert, tflite-runtime"),
        (["run", "--set", "trials=8"], 2, "write search.trials"),
        (["run", "--set", "trails=8"], 2, "the sections are search, task, space"),
        (["report", "."], 1, "record.sqlite"),
        (["export", "none.json"], 2, "none.json"),
    ],
)
def test_mistakes_are_one_message_and_an_exit_code(arguments, code, message, tmp_path):
    done = hilnas(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_inside_a_group_is_told_by_itself(monkeypatch, capsys):
    module = importlib.import_module("hilnas.cli.app")

    def fail(**_):
        raise ExceptionGroup("unhandled errors", [ExceptionGroup("more", [OSError("the disk is full")])])

    monkeypatch.setattr(module, "app", fail)
    assert module.main() == 1
    assert capsys.readouterr().err == "hilnas: the disk is full\n"


def test_a_full_disk_is_told_with_its_place_and_remedy(monkeypatch, capsys):
    module = importlib.import_module("hilnas.cli.app")

    def fail(**_):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/mine/models/ab")

    monkeypatch.setattr(module, "app", fail)
    assert module.main() == 1
    expected = "runs/mine/models/ab: No space left on device: free space there, then go on with --resume"
    assert capsys.readouterr().err == f"hilnas: {expected}\n"


def test_a_refused_start_leaves_the_folder_free(tmp_path):
    refused = hilnas("run", "--out", tmp_path / "x", "--set", "objective.1.device_class=pi4")
    assert refused.returncode == 1
    done = hilnas("run", "--out", tmp_path / "x", *QUICK, "--set", "search.trials=1", "--set", "final.top=0")
    assert done.returncode == 0, done.stderr


def test_devices_that_do_not_come_are_waited_for_in_vain(tmp_path):
    arguments = ["--set", "farm.local_agent=false", "--set", "farm.wait_s=0.2"]
    done = hilnas("run", *arguments, cwd=tmp_path, HILNAS_TOKEN="secret")
    assert done.returncode == 1
    assert "start `hilnas-agent" in done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_the_space_is_printed_with_its_size():
    done = hilnas("space", "--json")
    data = json.loads(done.stdout)
    assert data["size"] > 10**9
    assert data["decisions"][0]["name"] == "resolution"
    assert data["options"]["kernels"] == [3, 5, 7]
    assert re.search(r"kernels .*\[3, 5, 7\]", hilnas("space").stdout)


def test_two_runs_at_once_take_folders_of_their_own(tmp_path):
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    with exclusive(tmp_path / "runs" / "quickstart"):
        done = hilnas("run", *QUICK, "--set", "search.trials=1", "--set", "final.top=0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "quickstart-2" / "result.json").exists()


@pytest.mark.parametrize("command", ["run", "report", "export", "space", "recipes"])
def test_every_command_shows_an_example(command):
    assert "Example" in hilnas(command, "--help").stdout


def test_import_and_help_pull_in_nothing_heavy():
    code = "import sys, hilnas, hilnas.cli.app; print([m for m in ('torch', 'numpy', 'grpc', 'sqlalchemy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_arrows_run_one_way():
    """No floor imports one above it, and host and agent meet on the wire alone."""
    floors = [
        {
            "energy",
            "errors",
            "trial",
            "options",
            "units",
            "plugins",
            "versions",
            "spaces",
            "tasks",
            "store",
            "predictors",
        },
        {"strategies", "estimators", "export", "objectives", "farm", "executors", "security", "provision"},
        {"measuring"},
        {"recipe", "search", "report", "testing"},
        {"daemon"},
        {"cli"},
    ]
    level = {name: number for number, names in enumerate(floors) for name in names}
    import re

    root = Path(ROOT) / "host" / "hilnas"
    for path in root.rglob("*.py"):
        package = path.relative_to(root).parts[0].removesuffix(".py")
        text = path.read_text()
        assert not re.search(r"^\s*(from|import) hilnas_agent", text, re.M), path
        for imported in re.findall(r"^\s*(?:from|import) hilnas\.(\w+)", text, re.M):
            if package in level and imported in level:
                assert level[imported] <= level[package], f"{path} imports hilnas.{imported}"
    for path in (Path(ROOT) / "device_agent").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) hilnas(\.|\s)", path.read_text(), re.M), path
