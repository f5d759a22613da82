"""A lab in which things break: emulated boards whose real agents dial a real daemon over TLS, and faults to order.

Faults are methods of `Faults`, called `fault_…`; each breaks something, waits, and mends it. What a person would do
is done by `tend`: a search that failed for a full disk is resumed, a board in quarantine is released after a while.
"""

import json
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil

from hilnas.daemon.client import DaemonError, daemon_at
from hilnas.security.authority import Authority
from hilnas.security.bundles import make_bundle
from hilnas.security.peers import Role
from hilnas_protos.v1 import daemon_pb2 as api
from tests.board.lab import CACHE, ROOT, environment_of, root_file_system
from tests.board.lab import lab as board_script
from tests.integration.labs import Lab
from tests.integration.searches import recipe

HOST = "10.77.0.1"
SETTINGS = """
listen = "{host}:{port}"
listen_local = "127.0.0.1:0"
metrics = ""
searches = 2
canary_minutes = {canary_minutes}
"""
DISK_MIB = 512
RELEASE_AFTER_S = 60
OUT_OF_STEP_S = (7200, -7200)


@cache
def clock_library() -> Path | None:
    """The library that steps the clock of one process (stepped_clock.c), built; None without a C compiler."""
    compiler, source = shutil.which("cc"), Path(__file__).with_name("stepped_clock.c")
    if compiler is None:
        return None
    # For boards too, whose libc is no newer than the one here.
    built = Path(tempfile.mkdtemp(prefix="stepped-clock-")) / "clock.so"
    subprocess.run([compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", built, source, "-ldl"], check=True)
    return built


def stepped_by(library: str, clock: str) -> dict[str, str]:
    """Environment of a process whose clock of the day is off by what the file `clock` says."""
    return {"LD_PRELOAD": library, "STEPPED_CLOCK": clock}


class FaultyBoard:
    """A board whose agent is started again whenever it ends."""

    def __init__(self, name: str, address: str, lab: "FaultyLab") -> None:
        self.name, self.address = name, address
        self.key, self.python = CACHE / "keys/id_ed25519", f"/{environment_of('amd64')}/bin/python"
        with suppress(AssertionError):
            self.sh("down")
        self.sh("up", str(root_file_system("amd64")), self.address)
        # XNNPACK gives up where the kernel does not list its processors.
        for file in ("present", "possible"):
            (CACHE / "boards" / self.name / "sys/devices/system/cpu" / file).write_text("0-3\n")
        make_bundle(lab.authority, Role.DEVICE, self.name, lab.folder / "boards" / self.name)
        archive = subprocess.run(
            ["tar", "-C", str(ROOT), "-c", "--exclude=__pycache__", "device_agent/hilnas_agent", "protos/hilnas_protos",
             "-C", str(lab.folder / "boards"), "--transform", f"s,^{self.name},identity/first,", self.name],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        self.ssh("mkdir -p agent cache && tar -C agent -x && ln -sfn first agent/identity/current", archive)
        stepped = ""
        if (library := clock_library()) is not None:
            self.ssh("cat >agent/clock.so", library.read_bytes())
            self.step_clock(0)
            words = stepped_by("/home/pi/agent/clock.so", "/home/pi/agent/clock")
            stepped = " ".join(f"{name}={value}" for name, value in words.items())
        loop = (
            f"#!/bin/sh\nwhile :; do {stepped} PYTHONPATH=agent/device_agent:agent/protos "
            f"{self.python} -m hilnas_agent --host {lab.address} --name {self.name} --device-class toy "
            "--identity agent/identity --cache-dir cache --cpus 0,1 --runtime hilnas_agent.runtimes.litert:LiteRt "
            ">>agent.log 2>&1; echo left with $? >>agent.log; sleep 1; done\n"
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

    def step_clock(self, seconds: int) -> None:
        """Set its agent's clock off by so much."""
        self.ssh("dd of=agent/clock conv=notrunc status=none", seconds.to_bytes(8, "little", signed=True))

    def kill(self, pattern: str) -> None:
        """Kill processes on it that have this in their command line."""
        # In brackets, so that the script that kills is not what it looks for.
        self.sh("exec", "sh", "-c", f"pkill -KILL -f '[{pattern[0]}]{pattern[1:]}' || true")


class FaultyLab(Lab):
    """A lab on a disk that can be filled, with a clock that can be stepped."""

    def __init__(self, port: int = 50817, canary_minutes: float = 0.5) -> None:
        self.address = f"{HOST}:{port}"
        settings = SETTINGS.format(host=HOST, port=port, canary_minutes=canary_minutes)
        super().__init__(settings)
        # The lab's bridge, by which boards see this machine: the daemon listens there before the first one is up.
        for words in ("link add hbr0 type bridge", f"addr add {HOST}/24 dev hbr0", "link set hbr0 up"):
            subprocess.run(["ip", *words.split()], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(self.folder)], check=True
        )
        (self.folder / "daemon.toml").write_text(settings)
        # Not on the disk that is filled.
        self.log = Path(tempfile.mkstemp(prefix="faults-daemon-")[1])
        self._clock = Path(tempfile.mkstemp(prefix="faults-clock-")[1])
        self.hilnas("daemon", "init", "--name", HOST, "--json")
        self.authority = Authority.open(self.folder / "ca")
        self._clock.write_bytes(bytes(8))
        if (library := clock_library()) is not None:
            self.environment = stepped_by(str(library), str(self._clock))

    def step_clock(self, seconds: int) -> None:
        """Set the clock of the daemon and its searches off by so much."""
        with self._clock.open("r+b") as file:
            file.write(seconds.to_bytes(8, "little", signed=True))

    def __exit__(self, *more: object) -> None:
        self.stop(signal.SIGKILL)
        time.sleep(1)
        subprocess.run(["umount", "-l", str(self.folder)], check=False)
        self._clock.unlink()
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
        # Emulated boards have this machine's boot id: nothing would ever be trained.
        data["farm"] = {"quiet": False}
        found.append(data)
    return found


class Faults:
    """Breaks things, and mends them; `brief` ones are over within seconds."""

    def __init__(self, lab: FaultyLab, boards: list[FaultyBoard], seed: int, brief: bool = False) -> None:
        self.lab, self.boards, self.rng, self.brief = lab, boards, random.Random(seed), brief
        self.done: Counter[str] = Counter()
        self.kinds = [f"fault_{name}" for name in KINDS if "clock" not in name or clock_library() is not None]
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

    def fault_daemon_killed(self, _: FaultyBoard) -> None:
        """SIGKILL, and started again."""
        self.lab.stop(signal.SIGKILL)
        time.sleep(self._between(0, 3))
        self.lab.start()

    def fault_daemon_ended(self, _: FaultyBoard) -> None:
        """SIGTERM, and started again."""
        self.lab.stop(signal.SIGTERM)
        self.lab.start()

    def fault_search_killed(self, _: FaultyBoard) -> None:
        """SIGKILL of a search's process."""
        children = psutil.Process(self.lab.process.pid).children()
        if children:
            self.rng.choice(children).kill()

    def fault_agent_killed(self, board: FaultyBoard) -> None:
        """SIGKILL of an agent's main process."""
        board.kill("hilnas_agent --host")

    def fault_worker_killed(self, board: FaultyBoard) -> None:
        """SIGKILL of workers."""
        board.kill("hilnas_agent.worker")

    def fault_link_cut(self, board: FaultyBoard) -> None:
        """No carrier for some seconds."""
        self._for(board, ("cut",), self._between(1, 12))

    def fault_blackhole(self, board: FaultyBoard) -> None:
        """Nothing arrives, and nobody is told."""
        self._for(board, ("blackhole",), self._between(5, 15))

    def fault_lossy(self, board: FaultyBoard) -> None:
        """A third of all packets is lost."""
        self._for(board, ("loss", "33"), self._between(6, 12))

    def fault_slow(self, board: FaultyBoard) -> None:
        """128 kbit a second."""
        board.sh("rate", "128kbit")
        time.sleep(self._between(6, 12))
        board.sh("rate", "")

    def fault_frozen(self, board: FaultyBoard) -> None:
        """A hung board, for a while or for longer than a lease."""
        board.sh("freeze")
        time.sleep(5 if self.brief else self.rng.choice((5, 10, 40)))
        board.sh("thaw")

    def fault_power_cycled(self, board: FaultyBoard) -> None:
        """The plug is pulled."""
        board.sh("off")
        time.sleep(self._between(0, 5))
        board.sh("on")
        board.begin()

    def fault_board_disk_full(self, board: FaultyBoard) -> None:
        """No room for models."""
        board.sh("exec", "sh", "-c", "dd if=/dev/zero of=/home/pi/cache/filler bs=64k 2>/dev/null || true")
        time.sleep(self._between(4, 10))
        board.sh("exec", "sh", "-c", "rm -f /home/pi/cache/filler")

    def fault_host_disk_full(self, _: FaultyBoard) -> None:
        """No room for record and models, until a search has failed for it, or for a while."""
        filler = self.lab.folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        ends = time.monotonic() + 12
        while time.monotonic() < ends and not self._failed():
            time.sleep(0.3)
        filler.unlink()

    def _failed(self) -> bool:
        with suppress(DaemonError), daemon_at(self.lab.where) as stubs:
            found = stubs.searches.ListSearches(api.ListSearchesRequest(), timeout=20).searches
            return any(search.status == "FAILED" for search in found)
        return False

    def fault_board_clock(self, board: FaultyBoard) -> None:
        """A board's clock two hours off, both ways."""
        for seconds in (*OUT_OF_STEP_S, 0):
            board.step_clock(seconds)
            time.sleep(self._between(2, 6))

    def fault_host_clock(self, _: FaultyBoard) -> None:
        """The host's clock two hours off, both ways."""
        for seconds in (*OUT_OF_STEP_S, 0):
            self.lab.step_clock(seconds)
            time.sleep(self._between(2, 6))

    def _between(self, least: float, most: float) -> float:
        return least if self.brief else self.rng.uniform(least, most)

    def _for(self, board: FaultyBoard, words: tuple[str, ...], seconds: float) -> None:
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


KINDS = tuple(name.removeprefix("fault_") for name in vars(Faults) if name.startswith("fault_"))
"""All that can break."""


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
def powered(count: int, lab: FaultyLab, name: str, first: int) -> Iterator[list[FaultyBoard]]:
    """Boards called `name`-1 and so on with agents, until the end; `first`: their addresses' last number."""
    boards: list[FaultyBoard] = []
    try:
        for number in range(count):
            boards.append(FaultyBoard(f"{name}-{number + 1}", f"10.77.0.{first + number}", lab))
        lab.wait_for(
            lambda: sum(bool((d := lab.device(b.name)) and d.state == "READY") for b in boards) == count, 180
        )
        yield boards
    finally:
        for board in boards:
            with suppress(Exception):
                board.sh("down")
