"""How long `hilnas device deploy` takes: a board fresh out of the box, and the same board a second time.

    python -m tests.benchmarks.deploy_time --arch arm64 --repeats 3 [--init systemd]

The command itself, as a process, to boards of the lab (see tests/board), each new: Debian 12 with sshd, a network of its
own, the user pi with sudo; arm64 is emulated, so some eleven times slower than native. Seconds are from the command's
start to its end, imports and login included. The wheels lie in this host's cache before the clock starts; what it takes
to gather them into an empty cache, by the package index that pip is set up with, is told apart. Asked for: a second run
changes nothing, so the digest over names, times, sizes, modes and owners of all files is the same before and after it.
Not in it are /proc, /sys, /dev, /run, /tmp and the logs, which a running system writes anyway.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from hilnas.provision import Connection, Wheels, facts
from hilnas.provision.platforms import Platform
from tests.board.lab import CACHE, ROOT
from tests.board.provision_lab import BareBoard, Ssh, powered, why_not

ALL_FILES = (
    r"find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log "
    r"-o -path '/var/lib/systemd/*' -o -path '/var/tmp/systemd-private*' \) -prune "
    r"-o -printf '%p %T@ %C@ %s %m %u %g\n' | sort"
)
INSTALLED = 3
"""The command's exit code where the board has no systemd to start the agent."""


def deployed(board: BareBoard, folder: Path, init: str) -> tuple[float, int]:
    """Seconds that the command took, and how many changes it made."""
    command = [
        *(sys.executable, "-m", "hilnas", "device", "deploy", f"pi@{board.address}", "--json"),
        *("--fingerprint", board.fingerprint(), "--key", str(CACHE / "keys/id_ed25519")),
        *("--host", "127.0.0.1:50816", "--name", board.name, "--token-file", str(folder / "token")),
    ]
    (folder / "token").write_text("of-the-benchmark")
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    took = time.perf_counter() - start
    if done.returncode != (0 if init == "systemd" else INSTALLED):
        raise SystemExit(f"deploy to {board.name} ended with {done.returncode}: {done.stderr[-2000:]}")
    return took, len(json.loads(done.stdout)["changes"])


def stamps(board: BareBoard) -> str:
    """A digest of what all files of a board are like."""
    return hashlib.sha256(board.exec(ALL_FILES).encode()).hexdigest()[:12]


def gathered_s(platform: Platform) -> float:
    """Seconds to gather all wheels into a cache that is empty."""
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        Wheels(Path(cache)).gather(platform)
        return time.perf_counter() - start


def run(name: str, number: int, architecture: str, init: str) -> tuple[float, float, int, str, str]:
    """One board's life: seconds of both runs, changes of the second, digests before and after it."""
    with (
        tempfile.TemporaryDirectory() as place,
        powered(BareBoard(name, number, architecture, init)) as (board,),
    ):
        if init == "systemd":
            board.exec("systemctl is-system-running --wait >/dev/null 2>&1 || true")
        first, changed = deployed(board, Path(place), init)
        if not changed:
            raise SystemExit(f"{board.name} was not fresh: the first run changed nothing")
        before = stamps(board)
        second, again = deployed(board, Path(place), init)
        return first, second, again, before, stamps(board)


def main(architecture: str, repeats: int, init: str, name: str, number: int) -> None:
    """Fill the cache, run, print."""
    if why := why_not(architecture, init):
        raise SystemExit(why)
    with (
        tempfile.TemporaryDirectory() as place,
        powered(BareBoard(name, number, architecture)) as (board,),
        Connection.open(Ssh(Path(place), board)(board)) as connection,
    ):
        platform = Platform.of(facts.look(connection))
    bundle = Wheels().gather(platform)
    mib = sum(wheel.path.stat().st_size for wheel in bundle.wheels) / 2**20
    print(f"{architecture}, {init}: {len(bundle.wheels)} wheels, {mib:.1f} MiB")
    print(f"gathering them into an empty cache: {gathered_s(platform):.1f} s; not counted below")
    print(f"load average {os.getloadavg()[0]:.1f}\n")
    print("| board | first, s | second, s | changes of the second | files before | after |")
    print("|---|---|---|---|---|---|")
    firsts, seconds, same = [], [], True
    for repeat in range(1, repeats + 1):
        first, second, again, before, after = run(f"{name}-{repeat}", number + repeat, architecture, init)
        firsts.append(first)
        seconds.append(second)
        same &= before == after and not again
        print(f"| {repeat} | {first:.1f} | {second:.1f} | {again} | {before} | {after} |", flush=True)
    print(f"| median | {median(firsts):.1f} | {median(seconds):.1f} | | | |")
    if not same:
        raise SystemExit("a second run changed something")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", choices=("amd64", "arm64"), default="amd64")
    parser.add_argument("--init", choices=("sshd", "systemd"), default="sshd")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--name", default="time", help="boards are prov-NAME-1 and so on")
    parser.add_argument(
        "--number", type=int, default=70, help="their addresses are 10.77.0.151+NUMBER and on"
    )
    options = parser.parse_args()
    main(options.arch, options.repeats, options.init, options.name, options.number)
