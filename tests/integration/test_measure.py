"""Measuring without a search: `hilnas measure` and `hilnas profile` on this machine, as a person meets them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from hilnas.export import export_int8
from tests.integration.searches import ROOT

_SESSION = "warmup_ms=0, max_warmup_ms=0, min_sampling_ms=0, max_sampling_ms=100, remeasures=0"
QUICK = ["--set", f"screen={{{_SESSION}}}", "--set", f"full={{{_SESSION}, sessions=2}}"]
PROFILE_QUICK = ["--set", f"measurement.screen={{{_SESSION}}}"]
RULES = {"interval", "drift", "spread", "outliers", "temperature", "session-spread"}


def hilnas(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "hilnas", *map(str, arguments)],
        check=False, cwd=cwd, timeout=300, capture_output=True, text=True, env=dict(os.environ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small net."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 8, 3, padding=1), nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU6())
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    path = tmp_path_factory.mktemp("models") / "small.tflite"
    path.write_bytes(export_int8(net.eval(), torch.randn(8, 1, 16, 16)))
    return path


def test_a_model_is_measured_into_json(model):
    done = hilnas("measure", model, "--json", *QUICK)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    latency = found["latency_ms"]
    assert 0 < latency["p5"] <= latency["median"] <= latency["p95"]
    assert latency["low"] <= latency["median"] <= latency["high"]
    assert len(latency["sessions"]) == 2 and len(latency["samples"]) >= 20
    assert found["peak_memory_kib"] > 10_000
    assert found["memory_kib"]["arena"] >= 1
    assert (found["device"], found["threads"], found["energy_mj"]) == ("local", 1, None)
    assert found["energy"]["message"]
    assert found["verdict"] in ("TRUSTED", "UNSTABLE")
    assert {each["rule"] for each in found["evidence"]} > RULES
    broken = [each for each in found["evidence"] if not each["passed"]]
    assert all(each["text"] for each in broken)
    assert found["verdict"] == "TRUSTED" or broken
    assert found["conditions"]["cpus"]


def test_a_person_gets_a_table_and_reasons(model):
    done = hilnas("measure", model, "--fidelity", "screen", "--no-xnnpack", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "small.tflite" in done.stdout
    assert "operators went to XNNPACK: they ran on the runtime's own kernels" in done.stdout
    assert "no energy: " in done.stdout


def test_outputs_are_held_against_the_hosts(model, tmp_path):
    generator = np.random.default_rng(0)
    file = tmp_path / "examples.npz"
    np.savez(file, x=generator.standard_normal((24, 1, 16, 16)), y=generator.integers(0, 4, 24))
    for runtime, exact in (("ai-edge-litert", True), ("tflite-runtime", False)):
        done = hilnas("measure", model, "--examples", file, "--runtime", runtime, "--json", *QUICK)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["agreement"]
        assert found["examples"] == 24
        assert found["largest_step"] <= 15
        assert found["identical"] == 1.0 or not exact
        assert abs(found["device_accuracy"] - found["host_accuracy"]) <= 1 - found["same_class"]
    np.savez(file, x=generator.standard_normal((24, 1, 8, 8)))
    done = hilnas("measure", model, "--examples", file, *QUICK)
    assert done.returncode != 0
    assert "images are (1, 8, 8)" in done.stderr


def test_two_models_are_compared_in_turns(model):
    done = hilnas("measure", model, model, "--compare", "--json", *QUICK)
    assert done.returncode == 0, done.stderr
    ratio = json.loads(done.stdout.splitlines()[-1])
    assert ratio["ratio"]["low"] <= ratio["ratio"]["median"] <= ratio["ratio"]["high"]
    assert 0.3 < ratio["ratio"]["median"] < 3, "a model against itself"
    assert ratio["pairs"] >= 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x18\0\0\0TFL3", "no model that a device could run"),
        (b"PK\3\4 something else", "no model that a device could run"),
        (None, "there is no file"),
    ],
)
def test_a_wrong_file_is_exit_2_before_anything_starts(tmp_path, content, said):
    path = tmp_path / "wrong.tflite"
    if content is not None:
        path.write_bytes(content)
    done = hilnas("measure", path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--compare"], 2, "--compare takes two models, not 1"),
        (["--energy"], 1, "no energy meter"),
        (["--set", "energy.meter=ina219"], 1, "no energy meter ina219"),
        (["--local", "--device", "pi"], 2, "exclude each other"),
        (["--runtime", "onnx"], 1, "does not have the runtime onnx"),
        (["--set", "full.sesions=3"], 2, 'did you mean "sessions"'),
    ],
)
def test_mistakes_are_told(model, arguments, code, said):
    done = hilnas("measure", model, *QUICK, *arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_a_profile_has_a_share_for_each_operator(model):
    done = hilnas("profile", model, "--json", *PROFILE_QUICK)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [op["name"] for op in found["ops"]][:2] == ["CONV_2D", "CONV_2D"]
    assert sum(op["share"] for op in found["ops"]) == pytest.approx(1.0)
    assert found["sum_ms"] == pytest.approx(sum(op["latency_ms"] for op in found["ops"]))
    assert found["latency_ms"] > 0


def test_a_latency_table_is_filled_in_steps(tmp_path):
    narrow = {
        "resolutions": "[1.0]", "stem_widths": "[8]", "stem_strides": "[2]", "stage_widths": "[[8], [16]]",
        "stage_depths": "[[1], [1]]", "stage_strides": "[1, 2]", "kernels": "[3]", "expansions": "[1, 2]",
        "squeeze_excite": "[false]", "activations": '["relu6"]', "head_width": "16",
    }  # fmt: skip
    shape = [part for key, value in narrow.items() for part in ("--set", f"space.{key}={value}")]
    table = tmp_path / "table.jsonl"
    arguments = [
        "profile",
        "--space",
        "mbconv",
        "--out",
        table,
        "--nets",
        "4",
        "--json",
        *shape,
        *PROFILE_QUICK,
    ]
    first = hilnas(*arguments, "--limit", "3")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert (found["parts"], found["parts_of_space"], found["nets"], found["quality"]) == (3, 7, 0, None)
    before = table.read_bytes()
    second = hilnas(*arguments)
    assert second.returncode == 0, second.stderr
    found = json.loads(second.stdout)
    assert (found["parts"], found["nets"], found["failed"]) == (7, 4, [])
    assert found["quality"]["nets"] == 4
    assert table.read_bytes().startswith(before), "what was measured is not measured again"
