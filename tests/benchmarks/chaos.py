"""A lab in which something breaks every 20 seconds: is anything lost or doubled, and are the results the same?

    sudo python -m tests.benchmarks.chaos --minutes 30 --boards 4 [--keep FOLDER]

Emulated boards (Debian, each with a network and a plug of its own; see tests/board) run real agents, which reach a
real daemon over TLS with certificates of their own; two searches run there. Faults come in an order drawn anew: the
daemon, an agent, a worker or a search's process killed (SIGKILL), the daemon ended in order, a link cut, blackholed,
lossy or slow, a board frozen (shortly, and for longer than it takes to be called offline) or power-cycled, the disk of a
board or of the host full. What a person would do is done: a daemon that died is started, a search that failed for a
full disk is resumed, a board in quarantine is released after a while. Afterwards both searches run to their end, and
once more, undisturbed. Asked for: trials lost 0, doubled 0, results equal.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from hilnas.daemon.client import DaemonError, daemon_at
from hilnas.security.authority import Authority
from hilnas.security.bundles import make_bundle
from hilnas.security.peers import Role
from hilnas_protos.v1 import daemon_pb2 as api
from tests.board.lab import CACHE, ROOT, environment_of, root_file_system
from tests.board.lab import lab as board_script
from tests.integration.labs import ENDED, Lab
from tests.integration.searches import recipe

HOST, PORT = "10.77.0.1", 50817
SETTINGS = f"""
listen = "{HOST}:{PORT}"
listen_local = "127.0.0.1:0"
metrics = ""
searches = 2
canary_minutes = 0.5
"""
EVERY_S = 20
DISK_MIB = 512
RELEASE_AFTER_S = 60


class ChaosBoard:
    """A board whose agent is started again whenever it ends."""

    def __init__(self, number: int, lab: "ChaosLab") -> None:
        self.name, self.address = f"chaos-{number}", f"10.77.0.{180 + number}"
        self.key, self.python = CACHE / "keys/id_ed25519", f"/{environment_of('amd64')}/bin/python"
        with suppress(AssertionError):
            self.sh("down")
        self.sh("up", str(root_file_system("amd64")), self.address)
        for name in ("present", "possible"):
            (CACHE / "boards" / self.name / "sys/devices/system/cpu" / name).write_text("0-3\n")
        make_bundle(lab.authority, Role.DEVICE, self.name, lab.folder / "boards" / self.name)
        archive = subprocess.run(
            ["tar", "-C", str(ROOT), "-c", "--exclude=__pycache__", "device_agent/hilnas_agent", "protos/hilnas_protos",
             "-C", str(lab.folder / "boards"), "--transform", f"s,^{self.name},identity/first,", self.name],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        self.ssh("mkdir -p agent cache && tar -C agent -x && ln -sfn first agent/identity/current", archive)
        loop = (
            "#!/bin/sh\nwhile :; do PYTHONPATH=agent/device_agent:agent/protos "
            f"{self.python} -m hilnas_agent --host {HOST}:{PORT} --name {self.name} --device-class toy "
            "--identity agent/identity --cache-dir cache --cpus 0,1 --runtime hilnas_agent.runtimes.litert:LiteRt >>agent.log 2>&1; echo left with $? >>agent.log; sleep 1; done\n"
        )
        self.ssh("cat >run.sh && chmod +x run.sh", loop.encode())
        self.begin()

    def sh(self, command: str, *words: str) -> None:
        """Run the lab's script on it."""
        board_script("board.sh", command, self.name, *words)

    def ssh(self, script: str, content: bytes = b"") -> None:
        """Run a script on it."""
        options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=20",
        ]
        command = ["ssh", "-i", str(self.key), *(part for option in options for part in ("-o", option))]
        done = subprocess.run(
            [*command, f"pi@{self.address}", script],
            input=content,
            capture_output=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace")[-500:])

    def begin(self) -> None:
        """Give it a small disk for models, and start its agent."""
        self.sh("exec", "sh", "-c", "mount -t tmpfs -o size=4m,uid=1000,mode=700 tmpfs /home/pi/cache")
        self.ssh("setsid ./run.sh >/dev/null 2>&1 </dev/null &")

    def kill(self, pattern: str) -> None:
        """Kill processes on it that have this in their command line."""
        # In brackets, so that the script that kills is not what it looks for.
        self.sh("exec", "sh", "-c", f"pkill -KILL -f '[{pattern[0]}]{pattern[1:]}' || true")


class ChaosLab(Lab):
    """A lab on a disk that can be filled."""

    def __init__(self, settings: str = SETTINGS) -> None:
        super().__init__(settings)
        # The lab's bridge, by which boards see this machine: the daemon listens there before the first one is up.
        for words in ("link add hbr0 type bridge", f"addr add {HOST}/24 dev hbr0", "link set hbr0 up"):
            subprocess.run(["ip", *words.split()], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(self.folder)], check=True
        )
        (self.folder / "daemon.toml").write_text(settings)
        self.log = Path(tempfile.mkstemp(prefix="chaos-daemon-")[1])
        self.hilnas("daemon", "init", "--name", HOST, "--json")
        self.authority = Authority.open(self.folder / "ca")

    def __exit__(self, *more: object) -> None:
        self.stop(signal.SIGKILL)
        time.sleep(1)
        subprocess.run(["umount", "-l", str(self.folder)], check=False)
        super().__exit__(*more)


def searches(calls: Path, trials: int, seconds: float) -> list[dict]:
    """Two searches whose results depend on no clock, and of whose trials none is passed over."""
    found = []
    for name, strategy in (("one", "evolution"), ("two", "random")):
        data = recipe(calls / name, trials=trials, seconds=seconds)
        data["search"] |= {"name": name, "patience": 1e9}
        data["strategy"] = {"name": strategy}
        data["objective"][1] |= {"device_class": "toy"}
        data["measurement"] = {
            "canary": {"every": 50},
            "screen": {"remeasures": 0},
            "full": {"remeasures": 0},
        }
        data["final"] = {"epochs": 1, "top": 1}
        data["farm"] = {
            "quiet": False
        }  # emulated boards have this machine's boot id: nothing would ever be trained
        found.append(data)
    return found


class Chaos:
    """Breaks things, and mends them."""

    def __init__(self, lab: ChaosLab, boards: list[ChaosBoard], seed: int) -> None:
        self.lab, self.boards, self.rng = lab, boards, random.Random(seed)
        self.done: Counter[str] = Counter()
        self.kinds = [name for name in dir(self) if name.startswith("fault_")]
        self.left: list[str] = []
        self.quarantined: dict[str, float] = {}
        self.released = self.resumed = 0

    def strike(self) -> str:
        """Do the next fault, and mend what it broke."""
        if not self.left:
            self.left = self.rng.sample(self.kinds, len(self.kinds))
        kind = self.left.pop()
        getattr(self, kind)(self.rng.choice(self.boards))
        self.done[kind.removeprefix("fault_")] += 1
        return kind

    def fault_daemon_killed(self, _: ChaosBoard) -> None:
        """SIGKILL, and started again."""
        self.lab.stop(signal.SIGKILL)
        time.sleep(self.rng.uniform(0, 3))
        self.lab.start()

    def fault_daemon_ended(self, _: ChaosBoard) -> None:
        """SIGTERM, and started again."""
        self.lab.stop(signal.SIGTERM)
        self.lab.start()

    def fault_search_killed(self, _: ChaosBoard) -> None:
        """SIGKILL of a search's process."""
        children = psutil.Process(self.lab.process.pid).children()
        if children:
            self.rng.choice(children).kill()

    def fault_agent_killed(self, board: ChaosBoard) -> None:
        """SIGKILL of an agent's main process."""
        board.kill("hilnas_agent --host")

    def fault_worker_killed(self, board: ChaosBoard) -> None:
        """SIGKILL of workers."""
        board.kill("hilnas_agent.worker")

    def fault_link_cut(self, board: ChaosBoard) -> None:
        """No carrier for some seconds."""
        self._for(board, ("cut",), self.rng.uniform(1, 12))

    def fault_blackhole(self, board: ChaosBoard) -> None:
        """Nothing arrives, and nobody is told."""
        self._for(board, ("blackhole",), self.rng.uniform(5, 15))

    def fault_lossy(self, board: ChaosBoard) -> None:
        """A third of all packets is lost."""
        self._for(board, ("loss", "33"), 12)

    def fault_slow(self, board: ChaosBoard) -> None:
        """128 kbit a second."""
        board.sh("rate", "128kbit")
        time.sleep(12)
        board.sh("rate", "")

    def fault_frozen(self, board: ChaosBoard) -> None:
        """A hung board, for a while or for longer than a lease."""
        board.sh("freeze")
        time.sleep(self.rng.choice((5, 10, 40)))
        board.sh("thaw")

    def fault_power_cycled(self, board: ChaosBoard) -> None:
        """The plug is pulled."""
        board.sh("off")
        time.sleep(self.rng.uniform(0, 5))
        board.sh("on")
        board.begin()

    def fault_board_disk_full(self, board: ChaosBoard) -> None:
        """No room for models."""
        board.sh("exec", "sh", "-c", "dd if=/dev/zero of=/home/pi/cache/filler bs=64k 2>/dev/null || true")
        time.sleep(10)
        board.sh("exec", "sh", "-c", "rm -f /home/pi/cache/filler")

    def fault_host_disk_full(self, _: ChaosBoard) -> None:
        """No room for the record."""
        filler = self.lab.folder / "filler"
        with suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
        time.sleep(5)
        filler.unlink()

    def _for(self, board: ChaosBoard, words: tuple[str, ...], seconds: float) -> None:
        board.sh(*words)
        time.sleep(seconds)
        board.sh("restore")

    def tend(self) -> None:
        """What a person does: resume what failed for a full disk, release what has been in quarantine for long."""
        if self.lab.status() is None:
            return
        with suppress(DaemonError), daemon_at(self.lab.where) as stubs:
            for search in stubs.searches.ListSearches(api.ListSearchesRequest(), timeout=20).searches:
                if search.status == "FAILED":
                    print(f"  search {search.name} failed: {search.message[:200]}", flush=True)
                    stubs.searches.ChangeSearch(
                        api.ChangeSearchRequest(search=search.id, action="resume"), timeout=60
                    )
                    self.resumed += 1
            for device in stubs.devices.ListDevices(api.ListDevicesRequest(), timeout=20).devices:
                if device.state != "QUARANTINED":
                    self.quarantined.pop(device.name, None)
                elif (
                    time.monotonic() - self.quarantined.setdefault(device.name, time.monotonic())
                    > RELEASE_AFTER_S
                ):
                    stubs.devices.ChangeDevice(
                        api.ChangeDeviceRequest(
                            name=device.name, action="release", reason="the fault was ours"
                        ),
                        timeout=20,
                    )
                    self.released += 1


def outcome(lab: Lab, search_id: str) -> tuple[list, list, dict]:
    """Proposals, what became of each trial, and how often each of its steps was recorded."""
    events = lab.events(search_id)
    proposals = [
        e.payload["architecture"] for e in sorted(events, key=lambda e: e.trial) if e.kind == "proposed"
    ]
    result = json.loads((lab.results(search_id) / "result.json").read_text())
    kept = ("number", "digest", "status", "accuracy", "reward", "model_sha256")
    trials = [{key: trial[key] for key in kept} for trial in result["trials"]]
    steps = Counter(
        (e.kind, e.trial) for e in events if e.kind in ("measured", "scored", "invalid", "failed")
    )
    return proposals, trials, steps


@contextmanager
def powered(count: int, lab: ChaosLab):
    """Boards with agents, until the end."""
    boards = []
    try:
        for number in range(1, count + 1):
            boards.append(ChaosBoard(number, lab))
        yield boards
    finally:
        for board in boards:
            with suppress(Exception):
                board.sh("down")


def run(
    count: int, data: list[dict], minutes: float, seed: int, keep: Path | None
) -> tuple[list, Chaos | None, float]:
    """Run the searches, with faults for so many minutes; their outcomes."""
    with ChaosLab() as lab, powered(count, lab) as boards:
        lab.wait_for(
            lambda: sum(bool((d := lab.device(b.name)) and d.state == "READY") for b in boards) == count, 180
        )
        began = time.monotonic()
        ids = [lab.submit(each) for each in data]
        chaos = Chaos(lab, boards, seed) if minutes else None
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
