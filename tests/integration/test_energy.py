"""Energy from a meter of known truth, through a real agent, to the command line and into a search."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from hilnas.export import export_int8
from tests.integration.searches import QUICK, ROOT

METER = "tests.unit.agent.simulated_meter:Simulated"
PASS = "idle_s=0.2, busy_s=0.4, min_readings=5, min_runs=1, repeats=5, screen_repeats=4"
LOOSE = "max_idle_change=10, max_spread=100, min_snr=0.001"
"""What is simulated follows real processor time, which a busy machine makes uneven."""
SESSION = "warmup_ms=0, max_warmup_ms=0, min_sampling_ms=0, max_sampling_ms=100, remeasures=0, sessions=1"


def hilnas(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "hilnas", *map(str, arguments)],
        check=False, cwd=cwd, timeout=300, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU6())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))
    path = tmp_path_factory.mktemp("models") / "net.tflite"
    path.write_bytes(export_int8(nn.Sequential(net, *head).eval(), torch.randn(4, 3, 64, 64)))
    return path


def measure(model, meter, *more):
    return hilnas(
        "measure", model, "--energy", "--meter", METER, "--json", "--set", f"full={{{SESSION}}}",
        "--set", f"energy={{{PASS}, {LOOSE}, meter='{meter}', grid_g_per_kwh=400}}", *more,
    )  # fmt: skip


def test_a_model_is_measured_with_its_energy(model):
    done = measure(model, "simulated:worker")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    energy, latency_ms = found["energy"], found["latency_ms"]["median"]
    assert (energy["meter"], energy["boundary"]) == ("simulated:worker", "soc")
    # The meter counts 2 W for the processor that the model keeps busy: all the time, but for neighbours.
    assert 0.1 * 2 * latency_ms < energy["net_mj"] < 3 * 2 * latency_ms
    assert energy["low_mj"] <= energy["net_mj"] <= energy["high_mj"]
    assert energy["gross_mj"] > energy["net_mj"] == found["energy_mj"]
    assert found["carbon_g_per_million"] == pytest.approx(energy["net_mj"] * 1e3 / 3.6e6 * 400)
    assert any(each["rule"].startswith("energy-") for each in found["evidence"])


@pytest.mark.parametrize(
    ("meter", "verdict", "said"),
    [
        ("simulated:steady", "BELOW_RESOLUTION", ""),
        ("simulated:charging", "UNAVAILABLE", "unplug"),
    ],
)
def test_where_there_is_no_figure_there_is_a_reason(model, meter, verdict, said):
    done = measure(model, meter)
    found = json.loads(done.stdout)
    assert found["latency_ms"]["median"] > 0
    assert (found["energy_mj"], found["energy"]["verdict"], found["carbon_g_per_million"]) == (
        None,
        verdict,
        None,
    )
    assert said in found["energy"]["message"]
    assert found["energy"]["message"]
    assert done.returncode == 1, "energy was asked for"


def _recipe(folder):
    target = {"quantity": "energy", "target": "1 mJ"}
    data = {
        "search": {"name": "small", "seed": 3, "trials": 2, "in_flight": 2, "group": 1},
        "task": {"name": "digits", "size": 16},
        "space": {"resolutions": [1.0], "stage_widths": [[8], [16], [24, 48]], "head_width": 16},
        "strategy": {"name": "random"},
        "estimator": {"name": "tests.integration.plugins:Oracle", "calls": str(folder / "calls")},
        "objective": [{"quantity": "accuracy"}, target],
        "measurement": {"screen": QUICK, "full": QUICK, "canary": {"every": 0}},
        "farm": {"local_meters": [METER]},
        "final": {"epochs": 1, "top": 1},
    }
    (folder / "calls").touch()
    lines = []
    for section, content in data.items():
        for table in content if isinstance(content, list) else [content]:
            lines.append(f"[[{section}]]" if isinstance(content, list) else f"[{section}]")
            lines += [f"{key} = {_toml(value)}" for key, value in table.items()]
    (folder / "recipe.toml").write_text("\n".join(lines))
    return folder / "recipe.toml"


def _toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


def test_a_search_aims_at_energy(tmp_path):
    options = f"measurement.energy={{{PASS}, {LOOSE}, meter='simulated:worker', grid_g_per_kwh=400}}"
    done = hilnas("run", _recipe(tmp_path), "--out", tmp_path / "run", "--set", options)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["objectives"][1]["label"].startswith("energy@")
    for trial in result["trials"]:
        assert trial["status"] == "SCORED", trial["reason"]
        assert trial["energy_mj"] > 0
        assert trial["values"][result["objectives"][1]["label"]] == trial["energy_mj"]
        assert trial["measurements"][0]["energy"]["boundary"] == "soc"
        assert trial["reward_se"] > 0
    winner = result["winners"][0]["measurements"][0]
    assert len(winner["energy"]["repeats_mj"]) >= 3
    assert winner["carbon_g_per_million"] > 0
    report = (tmp_path / "run" / "report.html").read_text()
    assert "soc by simulated:worker" in report
