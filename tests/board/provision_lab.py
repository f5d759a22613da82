"""Bare boards for tests of provisioning, the SSH configuration that leads to them, and a host for their agents."""

import asyncio
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

from hilnas.errors import HilnasError
from hilnas.farm import Farm
from hilnas.farm.service import AgentServer
from hilnas.provision import resolve
from hilnas.security.authority import Authority
from hilnas.store import ModelFiles
from tests.board.lab import CACHE, lab, missing, scripts

TOKEN = "of-the-provisioned"
HOST = "10.77.0.1"
"""This machine, as boards see it."""


def why_not(architecture: str, init: str) -> str:
    """Why there can be no such board here; empty when there can."""
    if init == "systemd" and shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is not installed (Debian's systemd-container)"
    return missing(architecture)


class BareBoard:
    """A board as it comes out of the box: Debian, sshd, the user pi with sudo. `init`: sshd or systemd."""

    def __init__(self, name: str, number: int, architecture: str = "amd64", init: str = "sshd") -> None:
        self.name, self.address, self.init = f"prov-{name}", f"10.77.0.{150 + number}", init
        self.folder = CACHE / "boards" / self.name
        if not (CACHE / f"{architecture}-rootfs/.board-ready").exists():
            lab("make_board.sh", architecture)
        self.sh("down")
        try:
            self.sh("up", str(CACHE / f"{architecture}-rootfs"), self.address)
        except BaseException:
            self.sh("down")
            raise
        # XNNPACK gives up where the kernel does not list its processors.
        for place in ("present", "possible"):
            (self.folder / "sys/devices/system/cpu" / place).write_text("0-3\n")

    def sh(self, command: str, *words: str) -> str:
        """Runs board.sh on it."""
        place = scripts()
        assert place is not None
        done = subprocess.run(
            ["bash", str(place / "board.sh"), command, self.name, *words],
            check=False, capture_output=True, text=True, env={**os.environ, "INIT": self.init},
        )  # fmt: skip
        assert done.returncode == 0, f"{command} {self.name}: {done.stderr[-2000:]}"
        return done.stdout

    def exec(self, script: str) -> str:
        """Output of a script at the board's console, as root."""
        return self.sh("exec", "sh", "-c", script)

    def off(self) -> None:
        """Removes it."""
        self.sh("down")

    def fingerprint(self) -> str:
        """What its console says of its host key."""
        return self.exec("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]

    def host_key(self) -> str:
        """Its line of known_hosts."""
        return f"{self.address} {self.exec('cat /etc/ssh/ssh_host_ed25519_key.pub').rsplit(' ', 1)[0]}"


class Ssh:
    """A person's SSH configuration, in a folder of its own."""

    def __init__(self, folder: Path, *boards: BareBoard) -> None:
        self.known_hosts, self.config = folder / "known_hosts", folder / "config"
        self.known_hosts.write_text("".join(board.host_key() + "\n" for board in boards))
        self.config.write_text(
            f"Host *\n  User pi\n  IdentityFile {CACHE}/keys/id_ed25519\n  UserKnownHostsFile {self.known_hosts}\n"
        )

    def __call__(self, board, **options):
        text = board if isinstance(board, str) else board.address
        return resolve(text, config=self.config, **options)


class Host:
    """A farm that listens on loopback, and with an authority over TLS for boards, in a thread of its own."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        self._folder, self._authority = folder, authority
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self):
        self._thread.start()
        self._do(self._begin())
        return self

    def __exit__(self, *_):
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _begin(self):
        self.farm = Farm(ModelFiles(self._folder / "models"), 60)
        self._server = AgentServer(self.farm, TOKEN, self._authority)
        self.farm.start()
        self.port = int((await self._server.start("127.0.0.1:0")).rpartition(":")[2])
        if self._authority is not None:
            self.address = await self._server.start_tls(f"{HOST}:0")

    async def _end(self):
        await self.farm.close()
        await self._server.stop()

    def ready(self, device: str, timeout_s: float = 60.0):
        """Waits until the device has dialled in."""
        return self._do(self.farm.registry.wait_for(1, timeout_s, device))

    def connected(self, device: str) -> bool:
        """Is it there now?"""
        known = self.farm.devices.get(device)
        return known is not None and known.session is not None


class Lab:
    """A fleet whose devices are those of a host."""

    def __init__(self, host: Host, patience_s: float = 20.0) -> None:
        self.host, self.patience_s = host, patience_s
        self.calls: list[tuple[str, str]] = []

    def drain(self, device):
        self.calls.append(("drain", device))

    def wait_ready(self, device):
        self.calls.append(("wait_ready", device))
        self.host.ready(device, self.patience_s)

    def canary(self, device):
        self.calls.append(("canary", device))

    def release(self, device):
        self.calls.append(("release", device))


class OffFleet(Lab):
    """A fleet whose canary is off."""

    def canary(self, device):
        super().canary(device)
        if self.calls.count(("canary", device)) == 1:
            raise HilnasError("the canary takes 12 % longer than before")


@contextmanager
def powered(*made):
    """Boards that are removed again, whatever happens."""
    try:
        yield made
    finally:
        for board in made:
            board.off()
