"""The real worker process, on both runtimes, with models that behave and models that do not."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from array import array
from dataclasses import asdict

import pytest

from hilnas_agent import runtimes, verdicts
from hilnas_agent.process import Worker, WorkerGoneError
from hilnas_agent.settings import Rules
from tests.unit.agent import tiny_models
from tests.unit.agent.fake_host import command_line, running, wait_until

OFFERS = runtimes.discover()[0]
PROTOCOL = {"warmup_runs": 2, "warmup_ms": 2, "min_samples": 100, "min_sample_ms": 0.1, "min_sampling_ms": 10}
MISBEHAVE = "tests.unit.agent.misbehaving:"
both_runtimes = pytest.mark.parametrize("path", [o.path for o in OFFERS], ids=[o.name for o in OFFERS])


def spec(model_path, **changes):
    job = {
        "model_path": str(model_path),
        "threads": 1,
        "protocol": PROTOCOL,
        "input_seed": 3,
        "cpus": [],
        "address_space_mib": 0,
        "cpu_seconds": 60,
    }
    return json.dumps(job | changes).encode()


def run(path, job, deadline_s=20.0):
    worker = Worker(path)
    try:
        return worker.run(job, deadline_s, lambda: None)
    finally:
        worker.close()
        assert not running(worker.pid)


def measure(path, content, tmp_path, deadline_s=20.0, **changes):
    """(verdict, message, answer) for a model's content."""
    model = tmp_path / "model"
    model.write_bytes(content)
    ended = run(path, spec(model, **changes), deadline_s)
    if ended.payload is None:
        return (*verdicts.of_end(ended, round(deadline_s * 1000)), {})
    head, _, raw = ended.payload.partition(b"\n")
    answer = json.loads(head)
    return answer["verdict"], answer["message"], answer | {"samples": array("Q", raw)}


@both_runtimes
def test_a_good_model_is_measured(path, tmp_path):
    verdict, _, answer = measure(
        path, tiny_models.good(), tmp_path, protocol=PROTOCOL | {"max_half_width": 9.0}
    )
    assert verdict == "TRUSTED"
    latency, memory = answer["latency"], answer["memory"]
    assert len(answer["samples"]) >= 100
    assert min(answer["samples"]) <= latency["median_ms"] * 1e6 <= max(answer["samples"])
    assert latency["low_ms"] <= latency["median_ms"] <= latency["high_ms"]
    assert latency["p5_ms"] <= latency["p90_ms"] <= latency["p95_ms"]
    assert latency["inner_loops"] * min(answer["samples"]) > 0.05e6
    assert 0 < memory["baseline_kib"] <= memory["load_peak_kib"]
    assert memory["run_peak_kib"] > 0
    graph = answer["runtime"]
    assert graph["delegate"] == ("xnnpack" if "litert" in path else "")
    assert graph["nodes"] >= graph["delegated_nodes"] == (graph["nodes"] if "litert" in path else 0)
    assert memory["arena_kib"] > 0
    assert [each["rule"] for each in answer["evidence"]] == ["interval"], "an older host asks for no rules"


@both_runtimes
def test_without_a_delegate_the_arena_holds_more(path, tmp_path):
    arenas = []
    for delegate in ("", "none"):
        _, _, answer = measure(path, tiny_models.good(), tmp_path, delegate=delegate)
        arenas.append(answer["memory"]["arena_kib"])
        assert answer["runtime"]["delegate"] == ("xnnpack" if "litert" in path and not delegate else "")
    assert arenas[0] <= arenas[1]


def test_every_rule_is_told(tmp_path):
    rules = asdict(Rules(max_switches_per_sample=-1))
    verdict, message, answer = measure(
        OFFERS[0].path,
        tiny_models.good(),
        tmp_path,
        protocol=PROTOCOL | {"rules": rules, "max_sampling_ms": 300},
    )
    told = {each["rule"]: each for each in answer["evidence"]}
    assert {"interval", "drift", "spread", "outliers", "switches", "quiet", "page-faults", "swap"} <= set(
        told
    )
    assert verdict == "UNSTABLE"
    assert not told["switches"]["passed"]
    assert told["switches"]["text"] in message
    assert answer["conditions"]["neighbour_load"] >= 0


def test_samples_beside_a_neighbour_are_set_aside(tmp_path):
    """A neighbour that works in bursts: what is left was taken while it slept."""
    bursts = "import time\nwhile True:\n  e=time.time()+.3\n  while time.time()<e: pass\n  time.sleep(.7)"
    neighbour = subprocess.Popen([sys.executable, "-c", bursts])
    try:
        rules = asdict(Rules())
        protocol = PROTOCOL | {"rules": rules, "min_sampling_ms": 2000, "max_sampling_ms": 2500}
        _, _, answer = measure(OFFERS[0].path, tiny_models.good(), tmp_path, protocol=protocol, cpus=[0])
    finally:
        neighbour.kill()
        neighbour.wait()
    told = {each["rule"]: each for each in answer["evidence"]}
    # Everything else on this machine is a neighbour as well, and may never be quiet.
    assert answer["latency"]["set_aside"] or not told["quiet"]["passed"]


def test_a_processor_slower_than_it_was_makes_a_figure_unstable(tmp_path):
    rules = asdict(Rules(max_slowdown=0.1))
    verdict, message, answer = measure(
        OFFERS[0].path, tiny_models.good(), tmp_path, protocol=PROTOCOL | {"rules": rules}, fixed_work_ns=1
    )
    told = {each["rule"]: each for each in answer["evidence"]}
    assert verdict == "UNSTABLE"
    assert not told["speed"]["passed"]
    assert told["speed"]["text"] in message
    assert not answer["latency"]["set_aside"], "where all is slow, nothing would be left"
    assert answer["conditions"]["fixed_work_ns"] == 1
    assert answer["conditions"]["slowdown"] == told["speed"]["value"]


@both_runtimes
def test_a_figure_less_sure_than_allowed_is_unstable(path, tmp_path):
    verdict, message, _ = measure(
        path, tiny_models.good(), tmp_path, protocol=PROTOCOL | {"max_half_width": -1}
    )
    assert verdict == "UNSTABLE"
    assert "half-width" in message


@both_runtimes
@pytest.mark.parametrize("model", ["unsupported_custom_op", "unsupported_version"])
def test_an_unknown_operator_is_named(path, model, tmp_path):
    verdict, message, _ = measure(path, getattr(tiny_models, model)(), tmp_path)
    assert verdict == "UNSUPPORTED_OP"
    assert "NobodyHasThis" in message or "CONV_2D" in message


@both_runtimes
@pytest.mark.parametrize(
    "content",
    [tiny_models.torn(), tiny_models.NOT_A_MODEL, tiny_models.EIGHT_BYTES, b"", b"TFL3", bytes(100)],
    ids=["torn", "text", "eight bytes", "empty", "four bytes", "zeros"],
)
def test_a_file_that_is_no_model(path, content, tmp_path):
    assert measure(path, content, tmp_path)[0] == "INVALID_MODEL"


@both_runtimes
@pytest.mark.parametrize("share", [0.05, 0.2, 0.35, 0.65, 0.8, 0.95])
def test_a_torn_file_ends_no_more_than_its_worker(path, share, tmp_path):
    whole = tiny_models.good()
    verdict, _, _ = measure(path, whole[: int(len(whole) * share)], tmp_path)
    assert verdict in {"INVALID_MODEL", "CRASHED", "TRUSTED", "UNSTABLE"}


@both_runtimes
def test_a_tensors_name_that_is_no_text_costs_no_measurement(path, tmp_path):
    named = tiny_models.good().replace(b"\2\0\0\0t2\0", b"\2\0\0\0\xff2\0")
    assert named != tiny_models.good()
    assert measure(path, named, tmp_path)[0] in {"TRUSTED", "UNSTABLE"}


@both_runtimes
def test_a_model_over_its_address_space(path, tmp_path):
    verdict, message, _ = measure(path, tiny_models.huge(), tmp_path, address_space_mib=1500)
    assert verdict == "OUT_OF_MEMORY"
    assert "memory" in message


@both_runtimes
def test_a_model_over_its_deadline(path, tmp_path):
    verdict, message, _ = measure(path, tiny_models.slow(), tmp_path, deadline_s=1.5)
    assert verdict == "TIMEOUT"
    assert "1500 ms" in message


def test_a_model_over_its_processor_time(tmp_path):
    verdict, message, _ = measure(OFFERS[0].path, tiny_models.slow(), tmp_path, cpu_seconds=1)
    assert (verdict, "SIGXCPU" in message) == ("TIMEOUT", True)


def test_a_cached_model_that_vanished_is_the_devices_fault(tmp_path):
    ended = run(OFFERS[0].path, spec(tmp_path / "gone"))
    assert json.loads(ended.payload)["verdict"] == "DEVICE_FAULT"


def test_a_processor_that_is_not_there_is_the_devices_fault(tmp_path):
    verdict, message, _ = measure(OFFERS[0].path, tiny_models.good(), tmp_path, cpus=[4000])
    assert verdict == "DEVICE_FAULT"
    assert "--cpus" in message


def test_a_worker_is_pinned(tmp_path):
    last = max(os.sched_getaffinity(0))
    verdict, _, _ = measure(OFFERS[0].path, tiny_models.good(), tmp_path, cpus=[last])
    assert verdict in {"TRUSTED", "UNSTABLE"}


@pytest.fixture
def reachable(monkeypatch, request):
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize(
    ("name", "verdict", "words"),
    [
        ("Segfault", "CRASHED", "SIGSEGV"),
        ("Abort", "CRASHED", "SIGABRT: what a pity"),
        ("Exit", "CRASHED", "exit 3"),
        ("Hang", "TIMEOUT", "1000 ms"),
        ("HangHavingShutItsPipes", "TIMEOUT", "1000 ms"),
        ("NoImport", "DEVICE_FAULT", "cannot be imported"),
        ("Chatter", "CRASHED", "RuntimeError: enough"),
        ("NoMemoryAtRunTime", "OUT_OF_MEMORY", "memory"),
        ("KilledByTheKernel", "OUT_OF_MEMORY", "SIGKILL"),
    ],
)
def test_a_runtime_that_misbehaves(name, verdict, words, tmp_path):
    found, message, _ = measure(MISBEHAVE + name, tiny_models.good(), tmp_path, deadline_s=1.0)
    assert found == verdict
    assert words in message


@pytest.mark.usefixtures("reachable")
def test_an_answer_without_end_is_cut_off(tmp_path):
    model = tmp_path / "model"
    model.write_bytes(tiny_models.good())
    ended = run(MISBEHAVE + "Flood", spec(model))
    assert ended.overflowed


@pytest.mark.usefixtures("reachable")
def test_the_whole_process_group_ends(tmp_path):
    model = tmp_path / "model"
    model.write_bytes(tiny_models.good())
    worker = Worker(MISBEHAVE + "Child")
    ended = worker.run(spec(model), 1.0, lambda: None)
    worker.close()
    assert ended.timed_out
    child = int(ended.stderr)
    assert wait_until(lambda: not running(child))


def test_a_waiting_worker_ends_when_it_is_given_nothing():
    worker = Worker(OFFERS[0].path)
    ended = worker.run(b"", 20.0, lambda: None)
    worker.close()
    assert (ended.payload, ended.took_job, ended.returncode) == (None, False, 0)


def test_a_dead_worker_says_so_when_it_is_handed_a_job(tmp_path):
    worker = Worker(OFFERS[0].path)
    os.kill(worker.pid, signal.SIGKILL)
    assert wait_until(lambda: not worker.alive())
    with pytest.raises(WorkerGoneError):
        worker.run(spec(tmp_path), 20.0, lambda: None)
    worker.close()


def test_a_kill_from_another_thread_ends_the_wait(tmp_path):
    model = tmp_path / "model"
    model.write_bytes(tiny_models.slow())
    worker = Worker(OFFERS[0].path)
    threading.Timer(0.5, worker.kill).start()
    start = time.monotonic()
    ended = worker.run(spec(model), 60.0, lambda: None)
    worker.close()
    worker.kill()
    assert ended.payload is None
    assert time.monotonic() - start < 30


class Following:
    """Starts the next worker when asked to, as the agent does."""

    def __init__(self, path):
        self.path, self.worker, self.asked_at = path, None, 0.0

    def start(self):
        self.asked_at = time.monotonic()
        self.worker = Worker(self.path) if self.path else None
        return self.worker


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize(
    ("path", "least_s"), [(MISBEHAVE + "SlowImport", 4.0), (MISBEHAVE + "DeadImport", 0.0), ("", 0.0)]
)
def test_sampling_waits_for_the_next_worker_but_not_for_one_that_fails(path, least_s, tmp_path):
    model = tmp_path / "model"
    model.write_bytes(tiny_models.good())
    following, worker = Following(path), Worker(OFFERS[0].path)
    ended = worker.run(spec(model), 20.0, lambda: None, following.start)
    took_s = time.monotonic() - following.asked_at
    worker.close()
    answer = json.loads(ended.payload.partition(b"\n")[0])
    assert answer["verdict"] in {"TRUSTED", "UNSTABLE"}
    assert least_s <= took_s < 9
    assert answer["measuring_ms"] < 1900, "the time that it was held is none of measuring"
    if following.worker is not None:
        following.worker.close()


@pytest.mark.usefixtures("reachable")
def test_the_next_workers_start_is_not_in_the_deadline(tmp_path):
    model = tmp_path / "model"
    model.write_bytes(tiny_models.good())
    following, worker = Following(MISBEHAVE + "SlowImport"), Worker(OFFERS[0].path)
    ended = worker.run(spec(model), 3.5, lambda: None, following.start)
    worker.close()
    following.worker.close()
    assert ended.payload is not None


@both_runtimes
def test_the_next_worker_measures_as_well(path, tmp_path):
    model = tmp_path / "model"
    model.write_bytes(tiny_models.good())
    worker = Worker(path)
    for _ in range(3):
        following = Following(path)
        ended = worker.run(spec(model), 20.0, lambda: None, following.start)
        worker.close()
        worker = following.worker
        assert json.loads(ended.payload.partition(b"\n")[0])["verdict"] in {"TRUSTED", "UNSTABLE"}
    worker.close()


def test_a_worker_sees_no_directory_of_its_callers_choice():
    worker = Worker(OFFERS[0].path)
    assert wait_until(lambda: f"{sys.executable} -P -m" in command_line(worker.pid))
    worker.close()
