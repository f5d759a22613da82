"""A real daemon with a real agent: searches come, go, pause, and survive what happens to it."""

import json
import signal
import time

import psutil
import pytest

from hilnas.daemon.client import DaemonError
from hilnas.daemon.fleet import LabFleet
from tests.integration.labs import Lab
from tests.integration.searches import recipe


@pytest.fixture(scope="module")
def lab():
    with Lab() as lab:
        lab.wait_for(lambda: (d := lab.device()) and d.state in ("READY", "LEASED"), 60, "the local agent")
        yield lab


def trials(lab, search_id):
    result = json.loads((lab.results(search_id) / "result.json").read_text())
    kept = ("number", "digest", "decisions", "status", "accuracy", "model_sha256")
    return [{key: trial[key] for key in kept} for trial in result["trials"]]


@pytest.fixture(scope="module")
def undisturbed(lab, tmp_path_factory):
    """The small search, left alone on the daemon."""
    search_id = lab.submit(recipe(tmp_path_factory.mktemp("calls") / "calls", trials=9))
    assert lab.finish(search_id).status == "FINISHED", lab.search(search_id).message
    return search_id


def test_a_new_device_reads_the_canary_before_it_is_given_work(lab):
    kinds = [
        line.split()[2] for line in lab.hilnas("device", "history", "local", "--limit", "50").splitlines()
    ]
    assert kinds[::-1][:2] == ["new", "online"]
    assert "canary" in kinds
    assert "released" in kinds


def test_a_search_from_the_command_line_to_its_results(lab, undisturbed, tmp_path):
    shown = json.loads(lab.hilnas("search", "show", undisturbed[:8], "--json"))
    assert (shown["status"], shown["trials"], shown["name"]) == ("FINISHED", 9, "small")
    assert shown["device_s"] > 0
    assert shown["best_reward"] is not None
    listed = json.loads(lab.hilnas("search", "list", "--json"))
    assert undisturbed in [search["id"] for search in listed]
    assert "small" in lab.hilnas("search", "list")
    out = lab.hilnas("search", "watch", "small", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    kinds = [line["kind"] for line in lines if "kind" in line]
    assert kinds[0] == "search_started"
    assert kinds.count("scored") + kinds.count("invalid") >= 9
    numbers = [line["number"] for line in lines if "number" in line]
    assert numbers == sorted(set(numbers))
    lab.hilnas("search", "fetch", "small", "--out", str(tmp_path / "out"))
    fetched = tmp_path / "out/model.tflite"
    assert fetched.read_bytes() == (lab.results(undisturbed) / "model.tflite").read_bytes()
    assert (tmp_path / "out/report.html").exists()


def test_status_counts_what_there_is(lab, undisturbed):
    told = json.loads(lab.hilnas("daemon", "status", "--json"))
    assert told["searches"]["FINISHED"] >= 1
    assert sum(told["devices"].values()) == 1
    assert "1 " in lab.hilnas("daemon", "status")


def test_pause_and_resume_change_nothing_of_the_outcome(lab, undisturbed, tmp_path):
    search_id = lab.submit(recipe(tmp_path / "calls", trials=9))
    lab.wait_for(lambda: lab.search(search_id).trials >= 3, 120, "a few trials")
    assert lab.change(search_id, "pause").status == "PAUSED"
    before = len(lab.events(search_id))
    assert "it cannot pause" in lab.hilnas("search", "pause", search_id, code=1)
    assert lab.search(search_id).status == "PAUSED"
    assert lab.change(search_id, "resume").status in ("QUEUED", "RUNNING")
    assert lab.finish(search_id).status == "FINISHED"
    assert len(lab.events(search_id)) > before
    assert trials(lab, search_id) == trials(lab, undisturbed)


def test_a_cancelled_search_ends_and_keeps_what_it_found(lab, tmp_path):
    search_id = lab.submit(recipe(tmp_path / "calls", trials=500))
    lab.wait_for(lambda: lab.search(search_id).trials >= 2, 120, "a few trials")
    assert lab.change(search_id, "cancel").status == "CANCELLED"
    assert "it cannot resume" in lab.hilnas("search", "resume", search_id, code=1)
    assert (lab.results(search_id) / "result.json").exists()


def test_a_search_whose_process_is_killed_goes_on(lab, undisturbed, tmp_path):
    search_id = lab.submit(recipe(tmp_path / "calls", trials=9))
    lab.wait_for(lambda: lab.search(search_id).trials >= 3, 120, "a few trials")
    (process,) = [p for p in psutil.Process(lab.process.pid).children() if search_id in p.cmdline()]
    process.kill()
    assert lab.finish(search_id).status == "FINISHED"
    assert trials(lab, search_id) == trials(lab, undisturbed)


def watched(process):
    """What a command that watched a search has seen: kind and trial of each event."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "the daemon does not answer; waiting for it" in err and "the daemon is back" in err
    lines = [json.loads(line) for line in out.splitlines()]
    return [(line["kind"], line["trial"]) for line in lines if "kind" in line]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_daemon_that_is_ended_goes_on_where_it_was(lab, undisturbed, tmp_path, number):
    search_id = lab.submit(recipe(tmp_path / "calls", trials=9))
    watching = lab.begin("search", "watch", search_id, "--json")
    lab.wait_for(lambda: lab.search(search_id).trials >= 3, 120, "a few trials")
    assert lab.stop(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    time.sleep(1)
    lab.start()
    assert lab.finish(search_id).status == "FINISHED", lab.search(search_id).message
    assert watched(watching) == [(event.kind, event.trial) for event in lab.events(search_id)]
    assert trials(lab, search_id) == trials(lab, undisturbed)
    keys = [(event.kind, event.trial, event.key) for event in lab.events(search_id)]
    assert len(keys) == len(set(keys))


def test_what_is_wrong_with_a_recipe_is_said_at_once(lab, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("[search]\ntrails = 3\n[task]\nname = 'digits'\n[[objective]]\nquantity = 'accuracy'\n")
    assert 'did you mean "trials"' in lab.hilnas("search", "submit", str(path), code=2)
    assert "there is no search" in lab.hilnas("search", "show", "nonesuch", code=1)
    assert "there is no device" in lab.hilnas("device", "show", "nonesuch", code=1)


def test_a_device_that_nobody_has_is_waited_for(lab, tmp_path):
    data = recipe(tmp_path / "calls", trials=3)
    data["objective"][1]["device_class"] = "nonesuch"
    search_id = lab.submit(data)
    lab.wait_for(lambda: "waiting for a device of class nonesuch" in lab.search(search_id).phase, 60)
    lab.change(search_id, "cancel")


def test_a_drained_device_finishes_and_takes_no_more(lab, tmp_path):
    lab.hilnas("device", "drain", "local", "--why", "new fan")
    lab.wait_for(lambda: lab.device().state == "DRAINED", 60)
    assert lab.device().reason == "new fan"
    search_id = lab.submit(recipe(tmp_path / "calls", trials=2))
    lab.wait_for(lambda: lab.search(search_id).phase == "searching", 60)
    assert lab.device().state == "DRAINED"
    lab.hilnas("device", "release", "local")
    assert lab.finish(search_id).status == "FINISHED"


def test_a_device_that_is_upgraded_is_drained_waited_for_and_probed(lab):
    fleet = LabFleet(lab.where)
    fleet.drain("local")
    assert lab.device().state == "DRAINED"
    (agent,) = [p for p in psutil.Process(lab.process.pid).children() if "hilnas_agent" in p.cmdline()]
    agent.kill()  # its keeper starts it again, as a new release would be started
    fleet.wait_ready("local")
    fleet.canary("local")
    assert lab.device().state in ("READY", "LEASED")
    fleet.release("local")
    assert fleet.classes() == {"local": lab.device().device_class}
    with pytest.raises(DaemonError, match="has not dialled in"):
        LabFleet(lab.where, ready_s=1).wait_ready("nobody")


def test_labels_and_reservations(lab):
    shown = json.loads(lab.hilnas("device", "label", "local", "site=cellar", "rack=3", "--json"))
    assert shown["labels"]["site"] == "cellar"
    assert lab.hilnas("device", "list", "--label", "site=cellar", "--json") != "[]\n"
    assert lab.hilnas("device", "list", "--label", "site=attic", "--json") == "[]\n"
    lab.hilnas("device", "label", "local", "rack=")
    assert "rack" not in lab.device().labels
    lab.hilnas("device", "reserve", "local", "--for", "2h", "--user", "ann")
    assert lab.device().user == "ann"
    assert "is reserved for ann" in lab.hilnas(
        "device", "reserve", "local", "--for", "1h", "--user", "bob", code=1
    )
    lab.hilnas("device", "release", "local")
    assert lab.device().reserved_until_unix == 0
    assert "is no time" in lab.hilnas("device", "reserve", "local", "--for", "soon", code=2)


def test_a_second_daemon_is_refused_and_a_copy_is_whole(lab, tmp_path):
    assert "is in use by process" in lab.hilnas("daemon", code=1)
    assert "is whole" in lab.hilnas("daemon", "check")
    target = tmp_path / "copy"
    lab.hilnas("daemon", "backup", str(target))
    assert (target / "record.sqlite").exists()
    assert "is there already" in lab.hilnas("daemon", "backup", str(target), code=1)
