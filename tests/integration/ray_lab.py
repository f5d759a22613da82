"""A Ray cluster of several nodes on this machine, in a network namespace of its own."""

import ctypes
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.integration.searches import ROOT

_NEW_NET = 0x40000000
_MEMORY = 80 * 2**20
"""Of a node's object store, bytes."""
_START_S = 60


class RayLab:
    """A head without processors and nodes beside it; each node's processes are children of one of ours."""

    def __init__(self):
        self.name = f"hilnas-ray-{secrets.token_hex(3)}"
        self.folder = Path(tempfile.mkdtemp(prefix="hr"))  # short: there will be sockets in it
        self.address = "10.77.0.1:6379"
        self.nodes = {}
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")

    def start(self, nodes=2, cpus=1):
        """Start the head, and nodes of so many processors each."""
        port = self.address.partition(":")[2]
        self._start(0, "--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false",
                    f"--temp-dir={self.folder}", "--ray-client-server-port=10001")  # fmt: skip
        self._wait(0)
        self.add(*range(1, nodes + 1), cpus=cpus)
        return self

    def add(self, *numbers, cpus=1, path=""):
        """Start nodes, with a folder more where Python looks for packages."""
        for number in numbers:
            self._start(number, f"--address={self.address}", f"--num-cpus={cpus}", path=path)
            self._wait(number)  # two that start at once get in each other's way

    def kill(self, number):
        """End a node as a power cut does; return how many processes it had."""
        process = self.nodes.pop(number)
        family = []
        with suppress(psutil.NoSuchProcess):
            family = [process.pid, *(c.pid for c in psutil.Process(process.pid).children(recursive=True))]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait()
        return len(family)

    def close(self):
        """End everything."""
        for number in list(self.nodes):
            self.kill(number)
        for pid in _ip("netns", "pids", self.name).split():
            if int(pid) != os.getpid():  # whoever is inside still
                with suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
        _ip("netns", "del", self.name)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def entered(self):
        """Have this thread, and those that it starts, in the cluster's network."""
        with Path("/proc/self/ns/net").open() as before, Path(f"/run/netns/{self.name}").open() as inside:
            _enter(inside)
            try:
                yield
            finally:
                _enter(before)

    def _start(self, number, *arguments, path=""):
        _ip("-n", self.name, "addr", "replace", f"10.77.0.{number + 1}/32", "dev", "lo")
        log = (self.folder / f"node{number}.log").open("w+")
        self.nodes[number] = subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
             f"--node-ip-address=10.77.0.{number + 1}", f"--object-store-memory={_MEMORY}",
             "--disable-usage-stats", *arguments],
            stdout=log, stderr=log, cwd=ROOT, start_new_session=True,
            env={**os.environ, "PYTHONPATH": f"{path}:{ROOT}:{os.environ.get('PYTHONPATH', '')}",
                 "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled",
                 "GRPC_ENABLE_FORK_SUPPORT": "0"},  # with it, the head's server for clients hangs now and then
        )  # fmt: skip

    def _wait(self, number):
        until = time.monotonic() + _START_S
        told = self.folder / f"node{number}.log"
        while "Ray runtime started" not in told.read_text():
            if self.nodes[number].poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"a Ray node did not start: {told.read_text()[-2000:]}")
            time.sleep(0.1)


def missing():
    """Why there can be no such cluster here; empty when there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "the command ip is missing (Debian's iproute2)"
    try:
        import ray  # noqa: F401
    except ImportError as error:
        return f"Ray is missing: {error}"
    probe = f"hilnas-probe-{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return f"no network namespace: {made.stderr.strip()}" if made.returncode else ""


def _ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def _enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), _NEW_NET):
        raise OSError(ctypes.get_errno(), "setns")
