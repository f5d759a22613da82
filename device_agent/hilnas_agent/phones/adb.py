"""adb, by adbutils: the phones that a server knows, commands on one, files to one.

adbutils is imported here alone, when a server is first asked for.
"""

import contextlib
import math
import os
import re
import shlex
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilnas_agent.phones.states import READY, Seen, remedy

DEFAULT_SERVER = "127.0.0.1:5037"
_STDOUT, _STDERR, _EXIT = 1, 2, 3
_HEADER = 5
_QUICK_S = 20.0
_PUSH_S = 300.0
_KILL_S = 5.0
_MOST_BYTES = 8 << 20
_BLOCK = 1 << 15


class AdbMissingError(Exception):
    """adb itself cannot be used on this machine; the message holds the remedy."""


class LinkError(Exception):
    """A phone cannot be reached over adb, or not any more; the message holds the remedy."""


@dataclass(frozen=True)
class Finished:
    """How a command on a phone ended; `code` is 128 + n after signal n, as the phone's shell says it."""

    code: int
    out: bytes
    err: bytes
    timed_out: bool = False

    @property
    def text(self) -> str:
        """Its standard output."""
        return self.out.decode("utf-8", "replace")

    @property
    def errors(self) -> str:
        """Its standard error."""
        return self.err.decode("utf-8", "replace")


class Server:
    """The adb server at "host:port"; started if it is on this machine and does not run yet."""

    def __init__(self, address: str = "") -> None:
        try:
            import adbutils
        except ImportError as error:
            raise AdbMissingError("driving phones needs adbutils: pip install 'hilnas[hub]'") from error
        host, port = parse_address(address)
        self.address = f"{host}:{port}"
        if host in ("127.0.0.1", "localhost"):
            # adbutils starts a server by the adb command, which knows the port from here alone.
            os.environ["ANDROID_ADB_SERVER_PORT"] = str(port)
        elif not _answers(host, port):
            raise AdbMissingError(
                f"no adb server answers at {host}:{port}: start one there with adb -a nodaemon server"
            )
        self._client = adbutils.AdbClient(host=host, port=port)
        self._errors = (
            adbutils.AdbError,
            OSError,
            EOFError,
            ValueError,
            AssertionError,
            subprocess.SubprocessError,
        )

    def phones(self) -> list[Seen]:
        """All phones, whatever their state; AdbMissingError when there is no server."""
        try:
            with self._client.make_connection(timeout=_QUICK_S) as connection:
                connection.send_command("host:devices-l")
                connection.check_okay()
                return parse_devices(connection.read_string_block())
        except self._errors as error:
            raise AdbMissingError(
                f"the adb server at {self.address} does not answer ({error}): install Debian's package adb "
                "and run adb start-server"
            ) from error

    def link(self, serial: str) -> "Link":
        """The way to one phone."""
        return Link(self, self._client.device(serial=serial), self._errors)


class Link:
    """The way to one phone. Everything raises LinkError when it is gone."""

    def __init__(self, server: Server, device: Any, errors: tuple[type[Exception], ...]) -> None:
        self.serial: str = device.serial
        self._server, self._device, self._errors = server, device, errors

    def run(self, command: str, timeout_s: float = _QUICK_S) -> Finished:
        """Runs a shell command to its end; LinkError when it takes too long."""
        finished = self.open(command).finish(time.monotonic() + timeout_s)
        if finished.timed_out:
            raise LinkError(f"phone {self.serial} did not answer within {timeout_s:.0f} s to: {command[:80]}")
        return finished

    def open(self, command: str) -> "Command":
        """Starts a shell command, which gets no standard input, and returns while it runs."""
        try:
            connection = self._device.open_transport(timeout=_QUICK_S)
            # The shell tells its number first, so that what it started can be ended by it.
            connection.send_command(f"shell,v2,raw:echo $$; {command}")
            connection.check_okay()
            return Command(self, connection.conn, connection.close, self._errors)
        except self._errors as error:
            raise self.gone(error) from error

    def push(self, source: Path, target: str, mode: int = 0o644) -> None:
        """Copies a file to the phone, over what may be there."""
        try:
            self._device.sync.push(source, target, mode)
        except self._errors as error:
            raise self.gone(error) from error

    def kill(self, pid: int) -> None:
        """Ends a command and what it started; that the phone is gone is no error here."""
        with contextlib.suppress(*self._errors, LinkError):
            # adb's daemon makes each shell the leader of a process group. Without "--", which some shells refuse.
            self.run(f"kill -9 -{pid} 2>/dev/null || kill -9 {pid} 2>/dev/null", _KILL_S)

    def gone(self, error: Exception) -> LinkError:
        """What to say of an error on the way to this phone: its state, and the remedy."""
        with contextlib.suppress(AdbMissingError):
            states = {seen.serial: seen.state for seen in self._server.phones()}
            state = states.get(self.serial)
            if state is None:
                return LinkError(
                    f"phone {self.serial} is gone from adb: plug it in again, by another cable if this repeats"
                )
            if state != READY:
                return LinkError(f"phone {self.serial} is {state}: {remedy(state)}")
        return LinkError(
            f"phone {self.serial} broke off over adb ({error or type(error).__name__}): replug it, "
            "or run adb kill-server and adb start-server"
        )


class Command:
    """A command on a phone while it runs, by adb's second shell protocol (streams apart, and an exit code)."""

    def __init__(
        self,
        link: Link,
        connection: socket.socket,
        close: Callable[[], None],
        errors: tuple[type[Exception], ...],
    ) -> None:
        self._link, self._socket, self._close, self._errors = link, connection, close, errors
        self._head = b""
        self._doomed = False
        self.pid = 0
        self.out, self.err = bytearray(), bytearray()

    def kill(self) -> None:
        """Ends it on the phone; any thread may call this."""
        self._doomed = True
        if self.pid:
            self._link.kill(self.pid)

    def finish(
        self, ends_at: float = math.inf, on_output: Callable[[bytes], object] = lambda _: None
    ) -> Finished:
        """Waits until it ends, or kills it when the time has come (`time.monotonic`).

        `on_output` gets each block of standard output as it comes. LinkError when the phone goes away.
        """
        try:
            while True:
                kind, content = self._packet(ends_at)
                if kind == _EXIT:
                    return Finished(content[0], bytes(self.out), bytes(self.err))
                if kind == _STDOUT and (content := self._without_pid(content)):
                    self.out += content
                    on_output(content)
                elif kind == _STDERR:
                    self.err += content
                if len(self.out) + len(self.err) > _MOST_BYTES:
                    self.kill()
                    raise LinkError(
                        f"phone {self._link.serial} sent more than {_MOST_BYTES >> 20} MiB of output"
                    )
        except TimeoutError:
            self.kill()
            return Finished(-1, bytes(self.out), bytes(self.err), timed_out=True)
        except self._errors as error:
            raise self._link.gone(error) from error
        finally:
            with contextlib.suppress(OSError):
                self._close()

    def _packet(self, ends_at: float) -> tuple[int, bytes]:
        kind, length = struct.unpack("<BI", self._exactly(_HEADER, ends_at))
        if length > _MOST_BYTES:
            raise ValueError("a torn answer")
        return kind, self._exactly(length, ends_at)

    def _exactly(self, count: int, ends_at: float) -> bytes:
        content = b""
        while len(content) < count:
            left_s = ends_at - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._socket.settimeout(None if left_s == math.inf else left_s)
            block = self._socket.recv(min(count - len(content), _BLOCK))
            if not block:
                raise EOFError("the connection ended")
            content += block
        return content

    def _without_pid(self, content: bytes) -> bytes:
        if self.pid:
            return content
        first, newline, rest = (self._head + content).partition(b"\n")
        if not newline:
            self._head = first
            return b""
        if not first.strip().isdigit():
            raise ValueError(f"the phone's shell says {first[:80]!r} instead of its number")
        self.pid = int(first)
        if self._doomed:
            self._link.kill(self.pid)
        return rest


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of an adb server; empty: adb's own environment variables or defaults."""
    default_host, _, default_port = DEFAULT_SERVER.rpartition(":")
    if not address:
        port = os.environ.get("ANDROID_ADB_SERVER_PORT", "")
        host = os.environ.get("ANDROID_ADB_SERVER_ADDRESS", default_host)
        return host, int(port if port.isdigit() else default_port)
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise AdbMissingError(f"--adb-server {address}: expected HOST:PORT, such as {DEFAULT_SERVER}")
    return host, int(port)


def parse_devices(text: str) -> list[Seen]:
    """What "adb devices -l" prints, line by line."""
    found = []
    for line in text.splitlines():
        matched = re.match(r"(\S+)\s+(no permissions.*?|\S+)(?=\s+\w+:|;|\s*$)(.*)", line)
        if matched:
            model = re.search(r"\bmodel:(\S+)", matched[3])
            found.append(Seen(matched[1], matched[2], model[1].replace("_", " ") if model else ""))
    return found


def quote(word: str) -> str:
    """A word for the phone's shell."""
    return shlex.quote(word)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True
