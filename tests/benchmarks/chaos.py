"""A lab in which something breaks every 20 seconds: is anything lost or doubled, and are the results the same?

    sudo python -m tests.benchmarks.chaos --minutes 30 --boards 4 [--keep FOLDER]

Emulated boards (Debian, each with a network and a plug of its own; see tests/board) run real agents, which reach a
real daemon over TLS with certificates of their own; two searches run there. Faults come in an order drawn anew: the
daemon, an agent, a worker or a search's process killed (SIGKILL), the daemon ended in order, a link cut, blackholed,
lossy or slow, a board frozen (shortly, and for longer than it takes to be called offline) or power-cycled, the disk of a
board or of the host full, the clock of a board or of the host stepped by two hours, both ways. What a person would do is done: a daemon that died is started, a search that failed for a
full disk is resumed, a board in quarantine is released after a while. Afterwards both searches run to their end, and
once more, undisturbed. Asked for: trials lost 0, doubled 0, results equal.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.board.faults_lab import Faults, FaultyLab, outcome, powered, searches
from tests.integration.labs import ENDED

EVERY_S = 20


def run(
    count: int, data: list[dict], minutes: float, seed: int, keep: Path | None
) -> tuple[list, Faults | None, float]:
    """Run the searches, with faults for so many minutes; their outcomes."""
    with FaultyLab() as lab, powered(count, lab, "chaos", 180) as boards:
        began = time.monotonic()
        ids = [lab.submit(each) for each in data]
        chaos = Faults(lab, boards, seed) if minutes else None
        while chaos is not None and time.monotonic() - began < minutes * 60:
            started = time.monotonic()
            kind = chaos.strike()
            chaos.tend()
            states = {b.name: (d.state if (d := lab.device(b.name)) else "?") for b in boards}
            counts = [lab.search(one).trials for one in ids]
            print(f"{(started - began) / 60:5.1f} min {kind:<24} {counts} {states}", flush=True)
            time.sleep(max(0.0, EVERY_S - (time.monotonic() - started)))
        while not all(lab.search(one).status in ("FINISHED", "CANCELLED") for one in ids):
            if chaos is not None:
                chaos.tend()
            elif any(lab.search(one).status in ENDED[1:] for one in ids):
                raise RuntimeError([lab.search(one).message for one in ids])
            time.sleep(2)
        if keep is not None:
            shutil.copytree(
                lab.folder, keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("daemon.sock")
            )
        return [outcome(lab, one) for one in ids], chaos, time.monotonic() - began


def main(minutes: float, boards: int, trials: int, seconds: float, seed: int, keep: Path | None) -> int:
    """Run both and compare; 0 when nothing was lost or doubled and the results are equal."""
    with tempfile.TemporaryDirectory() as place:
        calls = Path(place)
        disturbed, chaos, took_s = run(boards, searches(calls, trials, seconds), minutes, seed, keep)
        quiet, _, quiet_s = run(boards, searches(calls, trials, 0.0), 0, seed, None)
    assert chaos is not None
    lost = doubled = differ = failed = 0
    for (proposals, found, steps), (wanted_proposals, wanted, _) in zip(disturbed, quiet, strict=True):
        lost += (
            len(wanted)
            - len(found)
            + sum(trial["status"] not in ("scored", "invalid", "SCORED", "INVALID") for trial in found)
        )
        failed += sum(trial["status"].upper() == "FAILED" for trial in found)
        doubled += sum(count > 1 for count in steps.values())
        differ += sum(a != b for a, b in zip(found, wanted, strict=False)) + (proposals != wanted_proposals)
    told = {
        "minutes": round(took_s / 60, 1), "undisturbed_minutes": round(quiet_s / 60, 1), "boards": boards,
        "faults": sum(chaos.done.values()), "by_kind": dict(chaos.done), "trials": sum(len(found) for _, found, _ in disturbed),
        "trials_lost": lost, "trials_failed": failed, "trials_doubled": doubled, "results_that_differ": differ,
        "searches_resumed_by_hand": chaos.resumed, "boards_released_by_hand": chaos.released,
    }  # fmt: skip
    print(json.dumps(told, indent=2))
    return 0 if not (lost or doubled or differ) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--boards", type=int, default=4)
    parser.add_argument("--trials", type=int, default=400, help="of each search")
    parser.add_argument("--seconds", type=float, default=4.0, help="that a candidate's estimate takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="copy the lab there at the end")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("this needs root: it makes networks, mounts and boards")
    sys.exit(
        main(options.minutes, options.boards, options.trials, options.seconds, options.seed, options.keep)
    )
