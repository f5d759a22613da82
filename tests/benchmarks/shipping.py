"""How quickly models reach a device, beside scp of the same files.

    python -m tests.benchmarks.shipping --repeats 5

Models: an agent's own fetcher and cache (hash checked while writing, rename; from 1 MiB on written out to the disk)
from a real farm's server on loopback, in a process of its own as sshd is, over TLS with certificates as between
machines, and in clear as on one machine. scp: OpenSSH's, to an sshd on loopback that is started for it, connected
before; it writes nothing out. In turns; the median rates. Asked for: at least half of scp's.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import grpc

from hilnas.farm import Farm
from hilnas.farm.service import AgentServer
from hilnas.security.authority import Authority
from hilnas.security.bundles import make_bundle
from hilnas.security.credentials import ServerCertificate, channel_credentials
from hilnas.security.peers import Role
from hilnas.store import ModelFiles
from hilnas_agent.cache import ModelCache
from hilnas_agent.channel import OPTIONS
from hilnas_agent.fetch import Fetcher
from hilnas_protos.v1 import agent_pb2_grpc, measurement_pb2

SIZES = {
    "64 files of 50 KiB": [50 << 10] * 64,
    "8 files of 2 MiB": [2 << 20] * 8,
    "1 file of 48 MiB": [48 << 20],
}


class Wanted:
    """Nobody cancels."""

    def is_cancelled(self) -> bool:
        """No."""
        return False

    def wait(self, seconds: float) -> object:
        """Sleep."""
        return time.sleep(seconds)

    def on_cancel(self, stop: object) -> None:
        """Nothing to stop."""


async def serve(folder: Path) -> None:
    """Serve models of a farm, the addresses told on standard output, until standard input ends."""
    authority = Authority.create(folder / "ca", "bench")
    ServerCertificate(authority).make(["127.0.0.1", "localhost"])
    make_bundle(authority, Role.DEVICE, "bench", folder / "device")
    server = AgentServer(Farm(ModelFiles(folder / "models")), "token", authority)
    addresses = await server.start("127.0.0.1:0"), await server.start_tls("127.0.0.1:0")
    print(json.dumps(addresses), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


class Host:
    """A farm that serves models, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.models, self.identity = ModelFiles(folder / "models"), folder / "device"
        command = [sys.executable, "-m", "tests.benchmarks.shipping", "--serve", folder]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.clear, self.tls = json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        """End it."""
        self._process.communicate()

    def channel(self, over_tls: bool) -> grpc.Channel:
        """A channel as an agent has it."""
        if over_tls:
            return grpc.secure_channel(self.tls, channel_credentials(self.identity), options=OPTIONS)
        return grpc.insecure_channel(self.clear, options=OPTIONS)


def fetched_s(host: Host, digests: list[tuple[str, int]], folder: Path, over_tls: bool) -> float:
    """Time in which an agent has fetched them all into an empty cache, on one connection."""
    with host.channel(over_tls) as channel:
        stub = agent_pb2_grpc.AgentServiceStub(channel)
        fetcher = Fetcher(stub, (("hilnas-token", "token"),), ModelCache(folder, 1 << 30))
        grpc.channel_ready_future(channel).result(20)
        start = time.perf_counter()
        for digest, size in digests:
            held = fetcher.fetch(measurement_pb2.Artifact(sha256=digest, size_bytes=size), Wanted())
            assert held is not None
            held.close()
        return time.perf_counter() - start


class Sshd:
    """OpenSSH's server on loopback, for this user, with keys of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized")
        (folder / "config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
            f"StrictModes no\nPidFile none\nUsePAM no\nSubsystem sftp internal-sftp\n"
        )
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise SystemExit("sshd is not installed (Debian's openssh-server)")
        Path("/run/sshd").mkdir(exist_ok=True)
        self.folder, self.port = folder, port
        self._process = subprocess.Popen(
            [program, "-D", "-e", "-f", folder / "config"], stderr=subprocess.DEVNULL
        )
        time.sleep(1)

    def copied_s(self, files: list[Path], target: Path) -> float:
        """Time in which scp has copied them all, its connection made before (ControlMaster)."""
        options = [
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
            *(
                "-o",
                f"ControlPath={self.folder}/master",
                "-o",
                "ControlMaster=auto",
                "-o",
                "ControlPersist=60",
            ),
        ]
        subprocess.run(
            ["ssh", "-p", str(self.port), "-i", self.folder / "user", *options, "127.0.0.1", "true"],
            check=True,
        )
        start = time.perf_counter()
        subprocess.run(
            [
                "scp",
                "-q",
                "-P",
                str(self.port),
                "-i",
                self.folder / "user",
                *options,
                *files,
                f"127.0.0.1:{target}",
            ],
            check=True,
        )
        return time.perf_counter() - start

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


def shipping(repeats: int, folder: Path) -> None:
    """Print the table of rates."""
    host, sshd = Host(folder / "host"), Sshd(folder / "ssh", 50822)
    print("| | agent over TLS, MiB/s | agent in clear, MiB/s | scp, MiB/s | TLS / scp | clear / scp |")
    print("|---|---|---|---|---|---|")
    try:
        for name, sizes in SIZES.items():
            digests = [(host.models.put(os.urandom(size)), size) for size in sizes]
            files = [host.models.path(digest) for digest, _ in digests]
            mib, took = sum(sizes) / 2**20, {"tls": [], "clear": [], "scp": []}
            for repeat in range(repeats):
                for tool, times in took.items():
                    target = folder / f"{tool}-{repeat}"
                    target.mkdir()
                    if tool == "scp":
                        times.append(sshd.copied_s(files, target))
                    else:
                        times.append(fetched_s(host, digests, target, tool == "tls"))
                    shutil.rmtree(target)
            tls, clear, scp = (mib / median(times) for times in took.values())
            print(f"| {name} | {tls:.0f} | {clear:.0f} | {scp:.0f} | {tls / scp:.2f} | {clear / scp:.2f} |")
    finally:
        sshd.stop()
        host.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        sys.exit()
    with tempfile.TemporaryDirectory() as place:
        shipping(options.repeats, Path(place))
