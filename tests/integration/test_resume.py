"""Kill the host at every kind of event, the agent, a worker: nothing is lost, redone or proposed otherwise."""

import collections
import json
import re
import shutil
import signal
import time

import psutil
import pytest

from hilnas.executors.template import WORKER_NAME
from hilnas.search.history import rebuild
from hilnas.store import EventKind
from tests.integration.searches import events, finish, outcome, recipe, start, to_toml

DEADLY = 4

ELSEWHERE = {EventKind.STUDY_STARTED, EventKind.TRAINED_IN_FULL, EventKind.RUNG, EventKind.RANKED}
"""What only a study of estimators has, a search that trains in stages (test_estimators), or one with a filter
(test_proxies)."""

EARLY_TO_LATE = [
    EventKind.SEARCH_STARTED,
    EventKind.SESSION_STARTED,
    EventKind.EARLIER,
    EventKind.PROPOSED,
    EventKind.PREPARED,
    EventKind.EXPORTED,
    EventKind.INVALID,
    EventKind.CANARY,
    EventKind.MEASURED,
    EventKind.ESTIMATED,
    EventKind.SCORED,
    EventKind.FAILED,
    EventKind.OBSERVED,
    EventKind.WINNER_TRAINED,
    EventKind.WINNER_MEASURED,
    EventKind.WINNER_CHECKED,
    EventKind.SEARCH_FINISHED,
    EventKind.SESSION_ENDED,
]
"""In this order each kind still lies ahead when its turn to be killed at comes: INVALID trials are among the first."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A search to learn from, ended before its winner."""
    folder = tmp_path_factory.mktemp("earlier")
    data = recipe(folder / "calls", trials=9)
    code, _, err = finish(start(folder / "run", {**data, "final": {"top": 0}}))
    assert code == 0, err
    return [str(folder / "run")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, earlier):
    """The same search, left alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, _, err = finish(
        start(folder / "run", recipe(folder / "calls", earlier=earlier, check=True, deadly=DEADLY))
    )
    assert code == 0, err
    return folder / "run"


def test_the_search_has_every_kind_of_event(undisturbed):
    assert {event.kind for event in events(undisturbed)} == set(EventKind) - ELSEWHERE


def test_killed_at_every_kind_of_event(undisturbed, earlier, tmp_path):
    folder, calls = tmp_path / "run", tmp_path / "calls"
    copied = tmp_path / "earlier"
    shutil.copytree(earlier[0], copied)
    data = recipe(calls, earlier=[str(copied)], check=True, deadly=DEADLY)
    assert set(EARLY_TO_LATE) == set(EventKind) - ELSEWHERE
    for kind in EARLY_TO_LATE:
        for phase in ("before", "after"):
            folder.mkdir(exist_ok=True)
            done = _done(folder)
            mark, jobs_mark = len(_lines(calls)), len(_jobs(folder))
            measured = {e.payload["model_sha256"][:12] for e in events(folder) if "measured" in e.kind}
            code, _, err = finish(start(folder, data, kind.value, phase))
            assert code == -signal.SIGKILL, f"never came to {phase} {kind}: {err}"
            asked_again = collections.Counter(_lines(calls)[mark:])
            doubted = _doubted(folder)
            assert not asked_again.keys() & done - doubted, "an estimate that was recorded was made again"
            jobs = set(_jobs(folder)[jobs_mark:])
            assert not measured & jobs - doubted, "what was recorded was measured again"
        if kind is EventKind.EARLIER:
            shutil.rmtree(copied)  # the record has what was learned from it
    code, _, err = finish(start(folder, data))
    assert code == 0, err
    assert outcome(folder) == outcome(undisturbed)


def _jobs(folder):
    """First digits of the models that agents were sent, in order."""
    log = folder / "agent.log"
    return re.findall(r"attempt \d+: latency of model (\w+)", log.read_text()) if log.exists() else []


def _lines(path):
    return path.read_text().split() if path.exists() else []


def _done(folder):
    """Digests of architectures whose estimate is recorded."""
    return {trial.architecture.digest for trial in rebuild(events(folder)).trials if trial.estimate}


def _doubted(folder):
    """Digests of architectures that were proposed again on purpose, and first digits of their models."""
    trials = rebuild(events(folder)).trials
    again = {trial.architecture.digest for trial in trials if trial.proposal.repeat}
    twice = [trial.model for trial in trials if trial.architecture.digest in again]
    return again | {model.sha256[:12] for model in twice if model}


@pytest.mark.parametrize(
    ("victim", "times"),
    # A candidate whose worker dies twice is blamed, so the device's workers are killed once.
    [("hilnas_agent", 3), (WORKER_NAME, 3), ("hilnas.executors.template", 1), ("hilnas_agent.worker", 1)],
)
def test_a_killed_helper_is_replaced_while_the_search_goes_on(victim, times, undisturbed, earlier, tmp_path):
    data = recipe(tmp_path / "calls", earlier=earlier, deadly=DEADLY, seconds=0.2)
    process = start(tmp_path / "run", data)
    kills = 0
    for line in process.stdout:
        if line.startswith(("exported", "measured")) and kills < times:
            kills += _kill(process.pid, victim)
            time.sleep(0.3)
    code, _, err = finish(process)
    assert code == 0, err
    assert kills == times
    assert outcome(tmp_path / "run") == outcome(undisturbed)


def _kill(parent, name):
    """Kill the oldest process of that name, or that module, below `parent`; 1 if there was any."""
    for child in psutil.Process(parent).children(recursive=True):
        try:
            if child.name() == name or (name in child.cmdline() and child.name() != WORKER_NAME):
                child.kill()
                return 1
        except psutil.NoSuchProcess:
            continue
    return 0


def test_nothing_is_left_running_after_a_kill(tmp_path):
    process = start(tmp_path / "run", recipe(tmp_path / "calls"))
    children = []
    for line in process.stdout:
        if line.startswith("scored"):
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
    finish(process)
    assert len(children) >= 3
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_ctrl_c_stops_cleanly_and_resume_goes_on(undisturbed, earlier, tmp_path):
    import os
    import subprocess
    import sys

    from tests.integration.searches import ROOT

    folder = tmp_path / "run"
    data = recipe(tmp_path / "calls", earlier=earlier, deadly=DEADLY, seconds=0.3)
    (tmp_path / "recipe.toml").write_text(to_toml(data))
    command = [sys.executable, "-m", "hilnas", "run", str(tmp_path / "recipe.toml"), "--out", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    ended = next((line for line in first.stdout if re.match(r"2/20 trial \d+ ", line)), None)
    assert ended, "no line told of the second trial's end"
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "--resume" in err
    assert "Traceback" not in err
    assert json.loads((folder / "result.json").read_text())["search"]["status"] == "stopped"
    again = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert again.returncode == 1
    assert "--resume" in again.stderr
    changed = [*command, "--resume", "--set", "strategy.width=16"]
    refused = subprocess.run(
        changed, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert refused.returncode == 2
    assert "[strategy]" in refused.stderr
    second = subprocess.run(
        [*command, "--resume", "--json"],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout)["search"]["status"] == "finished"
    assert outcome(folder) == outcome(undisturbed)
