"""Small searches as processes, for tests that disturb them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from hilnas.store import Record

QUICK = {
    "warmup_runs": 1, "warmup_ms": 0, "max_warmup_ms": 0, "min_sample_ms": 0, "min_sampling_ms": 0,
    "max_sampling_ms": 100, "remeasures": 0,
}  # fmt: skip
"""Sessions of a tenth of a second."""
ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("driver.py")


def recipe(calls, trials=20, earlier=(), check=False, **estimator):
    """A search of seconds whose results do not depend on any clock: INVALID and FAILED trials included.

    It begins with what searches in the folders `earlier` have learned. With `check` its winner's outputs on
    the device are compared with the host's.
    """
    return {
        "search": {
            "name": "small",
            "seed": 3,
            "trials": trials,
            "in_flight": 6,
            "group": 3,
            "warm_start": earlier,
        },
        "task": {"name": "digits", "size": 16},
        "space": {
            "name": "mbconv",
            "resolutions": [1.0],
            "stage_widths": [[8], [16], [24, 48]],
            "head_width": 16,
        },
        "strategy": {"name": "rl", "width": 8},
        "estimator": {"name": "tests.integration.plugins:Oracle", "calls": str(calls), **estimator},
        # The winner alone is trained: what optimizers import is not worth its seconds at every start.
        "executor": {
            "name": "local",
            "preload": [
                "torch",
                "ai_edge_litert.interpreter",
                "hilnas.search.work",
                "hilnas.estimators.train",
            ],
        },
        "objective": [
            {"quantity": "accuracy"},
            {"quantity": "latency"},
            {"quantity": "macs", "target": "0.5 M"},
            {"quantity": "model_size", "limit": "60 KiB"},
        ],
        "measurement": {
            "screen": QUICK,
            "full": {**QUICK, "sessions": 2},
            "canary": {"every": 4},
            "accuracy": {"where": "check" if check else "host", "examples": 16},
        },
        "final": {"epochs": 1, "top": 1},
    }


def start(folder, data, *kill):
    """Start a driver process on a search."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.json"
    path.write_text(json.dumps(data))
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(folder), str(path), *kill],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finish(process, timeout=900):
    """Wait for a driver; return its exit code and output."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def events(folder):
    """All events of the only search in a folder, if there is one."""
    record = Record.in_folder(folder)
    try:
        searches = record.searches()
        assert len(searches) <= 1
        return [event for search in searches for event in record.events(search.id)]
    finally:
        record.close()


def outcome(folder):
    """What must not depend on any disturbance: proposals to the last bit, and every trial's result."""
    result = json.loads((folder / "result.json").read_text())
    proposals = [e.payload for e in sorted(events(folder), key=lambda e: e.trial) if e.kind == "proposed"]
    kept = ("number", "digest", "decisions", "status", "accuracy", "reward", "model_sha256", "policy_version")
    trials = [{key: trial[key] for key in kept} for trial in result["trials"]]
    return proposals, trials, result["best"]["number"]


def to_toml(data):
    """Write a recipe as a file has it."""

    def value(item):
        if isinstance(item, dict):
            return "{" + ", ".join(f"{key} = {value(inner)}" for key, inner in item.items()) + "}"
        return json.dumps(item)

    parts = []
    for section, content in data.items():
        for table in content if isinstance(content, list) else [content]:
            parts.append(f"[[{section}]]" if isinstance(content, list) else f"[{section}]")
            parts += [f"{key} = {value(item)}" for key, item in table.items()]
    return "\n".join(parts)
