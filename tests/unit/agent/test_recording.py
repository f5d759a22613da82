"""A meter read by a process of its own, seen from the one that wants its readings."""

import json
import os
import subprocess
import sys
import time

import pytest

from hilnas_agent.energy.trace import Trace
from hilnas_agent.meters import COUNTER, MeterError
from hilnas_agent.meters.recording import Recording
from tests.unit.agent.boards import FakeBoard
from tests.unit.agent.fake_host import command_line, running, wait_until

SIMULATED = "tests.unit.agent.simulated_meter:Simulated"
RAPL = "hilnas_agent.meters.rapl:Rapl"


@pytest.fixture(autouse=True)
def reachable(monkeypatch, request):
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))


@pytest.fixture
def board(tmp_path):
    board = FakeBoard(tmp_path)
    folder = "sys/class/powercap/intel-rapl:0"
    board.write(f"{folder}/name", "package-0")
    board.write(f"{folder}/max_energy_range_uj", 65_532_610_987)
    board.write(f"{folder}/energy_uj", 65_531_000_000)
    return board


def gathered(recording, until, seconds=20):
    """All readings until a condition holds of them."""
    readings, ends_at = [], time.monotonic() + seconds
    while not until(readings) and time.monotonic() < ends_at:
        more, _ = recording.take()
        readings += more
        time.sleep(0.02)
    return readings


def test_a_counters_file_is_read_over_its_end(board):
    counter = board.root / "sys/class/powercap/intel-rapl:0/energy_uj"
    recording = Recording(RAPL, "", "rapl:package-0", root=str(board.root))
    try:
        assert recording.traits.kind == COUNTER
        before = gathered(recording, lambda found: len(found) >= 3)
        # 1.610987 J to the end, one step of 15 µJ, then 0.39 J from zero.
        replacement = counter.with_suffix(".new")
        replacement.write_text("390000")
        replacement.rename(counter)
        after = gathered(recording, lambda found: any(reading.value < 1 for reading in found))
        assert recording.processor_ns() > 0
    finally:
        recording.close()
    trace = Trace([*before, *after], recording.traits)
    assert trace._joules[-1] == pytest.approx(2.001002, abs=1e-5)


def test_a_recorder_keeps_to_its_processors_and_inherits_no_pipe():
    cpu = max(os.sched_getaffinity(0))
    reader, writer = os.pipe()
    recording = Recording(SIMULATED, "", "simulated:steady", cpus=[cpu])
    pid = recording._process.pid
    try:
        assert os.sched_getaffinity(pid) == {cpu}
        assert "hilnas_agent.meters.recorder" in command_line(pid)
        os.close(writer)
        assert os.read(reader, 1) == b"", "nobody else holds the other end"
    finally:
        os.close(reader)
        recording.close()
    assert wait_until(lambda: not running(pid))


def test_a_reading_that_fails_is_told_once_and_made_up_by_none(board):
    recording = Recording(RAPL, "", "rapl:package-0", root=str(board.root))
    counter = board.root / "sys/class/powercap/intel-rapl:0/energy_uj"
    try:
        gathered(recording, bool)
        gone = counter.with_suffix(".gone")
        counter.rename(gone)
        problems = []
        assert wait_until(lambda: problems.append(recording.take()[1]) or problems[-1])
        assert "cannot be read" in problems[-1]
        recording.take()
        assert recording.take()[0] == []
        gone.rename(counter)
        assert gathered(recording, bool)
    finally:
        recording.close()


def test_what_is_no_number_is_no_reading():
    recording = Recording(SIMULATED, "", "simulated:nan")
    try:
        problems = []
        assert wait_until(lambda: problems.append(recording.take()[1]) or problems[-1])
        assert "no number" in problems[-1]
        readings = gathered(recording, lambda found: len(found) >= 3)
        assert {reading.value for reading in readings} == {1.0}
    finally:
        recording.close()


@pytest.mark.parametrize(
    ("path", "name", "words"),
    [
        (SIMULATED, "simulated:gone", "plug it in"),
        (SIMULATED, "nobody", "its driver finds: simulated:worker"),
        ("no.such:Thing", "x", "ModuleNotFoundError"),
    ],
)
def test_a_meter_that_cannot_be_opened_says_why(path, name, words):
    with pytest.raises(MeterError, match=words):
        Recording(path, "", name)


def test_a_recorder_that_died_is_an_error_and_no_reading():
    recording = Recording(SIMULATED, "", "simulated:dies")
    try:
        with pytest.raises(MeterError, match="has ended"):
            gathered(recording, lambda found: False)
    finally:
        recording.close()


def test_a_recorder_without_its_parent_does_not_begin():
    job = {
        "path": SIMULATED,
        "argument": "",
        "name": "simulated:steady",
        "root": "/",
        "cpus": [],
        "parent_pid": 1,
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hilnas_agent.meters.recorder", json.dumps(job)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
