"""How a phone's benchmark_model is called for one measurement, without a phone."""

import json
import re
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from hilnas_agent.phones.adb import Finished
from hilnas_agent.phones.binary import LEAST_SAMPLES, BinaryWorker
from hilnas_agent.settings import Settings

OUTPUT = b"""INFO: Initialized session in 1.2ms.
INFO: count=20 first=830 curr=800 min=800 max=830 avg=810 std=8

INFO: count=250 first=801 curr=800 min=799 max=803 avg=800 std=1 p5=799 median=800 p95=802

INFO: Inference timings in us: Init: 1200, First inference: 830, Warmup (avg): 810, Inference (avg): 800
"""
SETTINGS = Settings(warmup_runs=20, warmup_ms=300, min_samples=12, min_sampling_ms=0, max_sampling_ms=1400)


class Worker(BinaryWorker):
    """Notes the commands, and has benchmark_model's words for each."""

    def __init__(self, folder):
        mirror = SimpleNamespace(link=None, root=folder, refresh=lambda: None)
        files = SimpleNamespace(program=lambda *_: "/d/benchmark_model", data=lambda *_: "/d/m.tflite")
        super().__init__(mirror, files, folder / "benchmark_model", "0" * 64)
        self.commands = []

    def execute(self, command, ends_at):
        self.commands.append(command)
        return Finished(0, OUTPUT, b"")

    def flags(self, name):
        """The flag's value in each command."""
        return [re.search(rf"--{name}=(\S+)", command)[1] for command in self.commands]


def measured(folder, **changes):
    worker = Worker(folder)
    job = {
        "model_path": "m", "threads": 1, "protocol": asdict(SETTINGS), "input_seed": 1, "cpus": [0], **changes,
    }  # fmt: skip
    ended = worker.run(json.dumps(job).encode(), 20, lambda: None, lambda: None)
    return worker, json.loads(ended.payload.partition(b"\n")[0])


def test_only_the_first_invocation_goes_through_the_whole_warm_up(tmp_path):
    worker, answer = measured(tmp_path)
    assert answer["verdict"] == "TRUSTED", answer["message"]
    assert worker.flags("warmup_runs") == ["20"] + ["1"] * SETTINGS.min_samples
    assert worker.flags("warmup_min_secs") == ["0.300"] + ["0.100"] * SETTINGS.min_samples
    assert worker.flags("report_peak_memory_footprint") == ["true"] + ["false"] * SETTINGS.min_samples
    assert set(worker.flags("num_runs")) == {"1"}
    assert answer["latency"]["median_ms"] == pytest.approx(0.8)
    assert answer["latency"]["warmup_runs"] == 20


def test_the_least_samples_hold_beyond_the_time(tmp_path):
    worker, _ = measured(tmp_path, protocol=asdict(SETTINGS) | {"max_sampling_ms": 0, "min_samples": 100})
    assert len(worker.commands) == 1 + LEAST_SAMPLES


def test_a_model_that_runs_alone_warms_up_in_its_only_invocation(tmp_path):
    worker, answer = measured(tmp_path, energy={"meter": "x"})
    assert worker.flags("warmup_runs") == ["20"]
    assert answer["energy"]["verdict"] == "UNAVAILABLE"
