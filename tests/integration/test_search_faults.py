"""Whole searches whose device, estimator or settings go wrong: what ends them, and how they go on."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import grpc
import pytest

from hilnas.daemon.place import Place
from hilnas.daemon.run import run_search
from hilnas.recipe import check_recipe
from hilnas.search.errors import SearchError
from hilnas.store import EventKind
from hilnas_protos.v1 import agent_pb2
from hilnas_protos.v1 import measurement_pb2 as wire
from tests.integration.scripted import CLASS, ScriptedAgent
from tests.integration.searches import ROOT, events, finish, recipe, start


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def searching(tmp_path, monkeypatch):
    """Runs a search on one scripted device; `answer(job, events)` says what it answers each job."""
    monkeypatch.setenv("HILNAS_TOKEN", "secret")

    def run(answer=lambda job, events: {}, resume=False, **changes):
        data = recipe(tmp_path / "calls", trials=6)
        data["objective"] = [{"quantity": "accuracy"}, {"quantity": "latency", "device_class": CLASS}]
        data["final"]["top"] = 1
        for key, value in changes.items():
            data[key] = value if isinstance(value, list) else {**data[key], **value}
        port = free_port()
        data["farm"] = {"listen": f"127.0.0.1:{port}", "local_agent": False}
        events = []

        async def device():
            while True:
                agent = ScriptedAgent(f"127.0.0.1:{port}", token="secret")
                try:
                    await agent.connect()
                    break
                except grpc.aio.AioRpcError:
                    await agent.channel.close()
                    await asyncio.sleep(0.1)
            writing = asyncio.Lock()

            async def live():
                while True:  # training a winner may take longer than a silent device is kept
                    await asyncio.sleep(5)
                    async with writing:
                        await agent.call.write(agent_pb2.ConnectRequest(heartbeat=agent_pb2.Heartbeat()))

            alive = asyncio.ensure_future(live())
            try:
                while True:
                    response = await agent.call.read()
                    if response is grpc.aio.EOF:
                        return
                    if response.WhichOneof("message") == "measure_job":
                        job = response.measure_job
                        async with writing:
                            await agent.answer(job, **answer(job, [event.kind for event in events]))
            finally:
                alive.cancel()

        async def main():
            board = asyncio.ensure_future(device())
            try:
                return await asyncio.wait_for(
                    run_search(check_recipe(data), Place(tmp_path / "run"), resume, listen=events.append), 300
                )
            finally:
                board.cancel()

        return asyncio.run(main()), events

    return run


def test_a_device_that_tells_no_memory_fails_the_trials_that_ask_for_it(searching, tmp_path):
    silent = {"memory": wire.Memory()}
    asked = [{"quantity": "accuracy"}, {"quantity": "peak_memory", "device_class": CLASS, "limit": "1 MiB"}]
    with pytest.raises(SearchError, match="told no peak memory"):
        searching(lambda job, events: silent, objective=asked, search={"trials": 40})
    trials = json.loads((tmp_path / "run" / "result.json").read_text())["trials"]
    assert {trial["status"] for trial in trials} <= {"FAILED", "PROPOSED"}
    assert all(trial["accuracy"] is None for trial in trials), "trained, though its limit was never checked"


def test_a_winner_that_could_not_be_measured_is_measured_on_resume(searching):
    def crash_winners(job, events):
        crashed = EventKind.WINNER_TRAINED in events
        return {"verdict": wire.VERDICT_CRASHED, "message": "SIGILL", "latency": None} if crashed else {}

    with pytest.raises(SearchError, match=r"could not be measured: CRASHED.*SIGILL.*--resume"):
        searching(crash_winners)
    results, events = searching(resume=True)
    assert EventKind.WINNER_TRAINED not in [event.kind for event in events]
    assert results["search"]["status"] == "finished"
    assert results["best"]["latency_ms"] == 1
    assert results["best"]["final"]


def test_a_change_of_final_trains_the_winner_anew_and_nothing_else(searching):
    before, _ = searching()
    same, events = searching(resume=True)
    assert EventKind.WINNER_TRAINED not in [event.kind for event in events]
    changed, events = searching(resume=True, final={"epochs": 2, "top": 1})
    kinds = [event.kind for event in events]
    assert kinds.count(EventKind.WINNER_TRAINED) == kinds.count(EventKind.WINNER_MEASURED) == 1
    assert EventKind.PROPOSED not in kinds
    back, _ = searching(resume=True)
    assert same["best"] == before["best"] | {"training_s": same["best"]["training_s"]}
    assert (
        changed["best"]["weights_sha256"]
        != before["best"]["weights_sha256"]
        == back["best"]["weights_sha256"]
    )
    assert len(changed["winners"]) == len(back["winners"]) == 1
    assert changed["best"]["latency_ms"] == back["best"]["latency_ms"] == 1


def test_an_estimate_that_is_no_accuracy_fails_its_trial_alone(searching):
    estimator = {"name": "tests.integration.plugins:Boastful"}
    results, _ = searching(estimator=estimator, search={"trials": 8})
    failed = [trial for trial in results["trials"] if trial["status"] == "FAILED"]
    assert failed
    assert all("accuracy of nan" in trial["reason"] for trial in failed)
    assert sum(trial["status"] == "SCORED" for trial in results["trials"]) == 8


def test_ctrl_c_does_not_wait_for_data(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "hilnas", "run", "--out", tmp_path / "run", "--set", "task.name=tests.integration.plugins:Sleepy"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("reading"):
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume" in err
    assert "Traceback" not in err


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1.3 MB, and a function that gives it room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1300k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk needs the right to mount one: {mounted.stderr.decode().strip()}")
    yield disk, lambda: subprocess.run(["mount", "-o", "remount,size=300m", disk], check=True)
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_disk_that_fills_up_costs_nothing_once_it_has_room(small_disk, tmp_path):
    disk, make_room = small_disk
    calls, folder = tmp_path / "calls", disk / "run"
    calls.touch()
    code, _, err = finish(start(folder, recipe(calls)))
    assert code != 0
    assert "No space left" in err or "disk is full" in err, err
    before, asked = [(e.kind, e.trial, e.key) for e in events(folder)], Counter(calls.read_text().split())
    make_room()
    code, _, err = finish(start(folder, recipe(calls)))
    assert code == 0, err
    after = [(e.kind, e.trial, e.key) for e in events(folder)]
    assert after[: len(before)] == before
    assert len(set(after)) == len(after)
    trials = json.loads((folder / "result.json").read_text())["trials"]
    assert sum(trial["status"] != "FAILED" for trial in trials) == 20
    asked_after = Counter(calls.read_text().split())
    known = [trials[number]["digest"] for kind, number, _ in before if kind is EventKind.ESTIMATED]
    assert all(asked_after[digest] == asked[digest] for digest in known), "a recorded estimate was done again"
