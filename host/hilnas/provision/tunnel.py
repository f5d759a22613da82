"""A way back: the board's agent dials a port of its own loopback, and SSH carries the connection to the host."""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import paramiko

from hilnas.errors import HilnasError
from hilnas.provision.connection import Connection
from hilnas.provision.errors import LostLinkError, ProvisionError

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_BLOCK = 1 << 15
_LOOPBACK = "127.0.0.1"

# Which process listens on a port of IPv4's loopback; only an sshd is ended, left over from a link that broke.
_FREE = """
inode=$(awk -v at="0100007F:$(printf %04X "$1")" '$2 == at && $4 == "0A" { print $10 }' /proc/net/tcp)
[ -n "$inode" ] || exit 0
for process in /proc/[0-9]*; do
  case $(cat "$process/comm" 2>/dev/null) in sshd*) ;; *) continue ;; esac
  for file in "$process"/fd/*; do
    [ "$(readlink "$file")" != "socket:[$inode]" ] || { kill "${process#/proc/}"; exit 0; }
  done
done
exit 3
"""


class Tunnel:
    """Carries connections from a port of a board's loopback to the host, and keeps itself up.

    `connect` logs in to the board; `to` is where the host listens: (address, port), or the path of a Unix socket.
    `clear` is done with each new connection, so that no half of an earlier tunnel holds the port; without it root does
    that, where the port is taken. `state` says in a sentence how it is, for people, and `since_unix` for how long it
    has been up or down. Threads of its own; `start` and `stop` may be called from any.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        board_port: int,
        to: tuple[str, int] | str,
        *,
        silence_s: float = 30.0,
        changed: Callable[[str], object] = lambda state: None,
        clear: Callable[[Connection], object] | None = None,
    ) -> None:
        self._connect, self._port, self._to, self._clear = connect, board_port, to, clear
        self._silence_s, self._changed = silence_s, changed
        self._over, self._up = threading.Event(), threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="tunnel", daemon=True)
        self._link: Connection | None = None
        self.state = "not started"
        self.since_unix = time.time()

    @property
    def is_up(self) -> bool:
        """True while the port of the board leads here."""
        return self._up.is_set()

    def start(self) -> None:
        """Begin; returns at once."""
        self._keeper.start()

    def wait_up(self, timeout_s: float) -> None:
        """Return when it is up; ProvisionError, with the reason, when it is not in time."""
        if not self._up.wait(timeout_s):
            raise ProvisionError(self.state)

    def stop(self, timeout_s: float = 10.0) -> None:
        """End it and all that it carries; one that is dialling ends by itself when that takes longer."""
        self._over.set()
        link = self._link
        if link is not None:
            link.close()
        if self._keeper.is_alive():
            self._keeper.join(timeout_s)

    def _keep(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._over.is_set():
            began = time.monotonic()
            try:
                with self._connect() as link:
                    self._link = link
                    self._serve(link)
            except HilnasError as error:
                self._say(str(error))
            except (OSError, EOFError, paramiko.SSHException) as error:
                self._say(f"the tunnel broke off ({error})")
            finally:
                self._mark(is_up=False)
                self._link = None
            # One that held for a while was no failure to begin.
            pause_s = _FIRST_PAUSE_S if time.monotonic() - began > _LONGEST_PAUSE_S else pause_s
            self._over.wait(random.uniform(pause_s / 2, pause_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._say("stopped")

    def _serve(self, link: Connection) -> None:
        """Carry until the link breaks or we are stopped."""
        self._open_port(link)
        self._mark(is_up=True)
        self._say(f"up: port {self._port} of {link.target} leads here")
        while not self._over.wait(self._silence_s / 3):
            self._ping(link)

    def _open_port(self, link: Connection) -> None:
        if self._clear is not None:
            self._clear(link)
        for attempt in (1, 2):
            try:
                link.transport.request_port_forward(_LOOPBACK, self._port, self._accept)
            except paramiko.SSHException as error:
                if not link.transport.is_active():
                    raise LostLinkError(f"the connection to {link.target} broke off") from error
                if attempt == 1 and self._clear is None and self._free_port(link):
                    continue
                raise ProvisionError(
                    f"{link.target} opens no port {self._port} for a tunnel: another program listens there (give another "
                    "port), or its sshd_config has AllowTcpForwarding no"
                ) from error
            return

    def _free_port(self, link: Connection) -> bool:
        """End the board's half of an earlier tunnel, which may not have noticed yet that it is cut."""
        try:
            link.script(_FREE, str(self._port), what=f"free port {self._port}", sudo=True)
        except ProvisionError:
            return False
        time.sleep(0.5)
        return True

    def _ping(self, link: Connection) -> None:
        """Ask the board's sshd for an answer, whatever it is; without one in time the link is over."""
        watch = threading.Timer(self._silence_s, link.close)
        watch.daemon = True
        watch.start()
        try:
            link.transport.global_request("keepalive@openssh.com", wait=True)
        finally:
            watch.cancel()
        if not link.transport.is_active():
            raise LostLinkError(f"the connection to {link.target} broke off")

    def _accept(self, channel: Any, _origin: tuple[str, int], _server: tuple[str, int]) -> None:
        # In the transport's own thread, which must not wait.
        threading.Thread(target=self._carry, args=(channel,), name="tunnel-connection", daemon=True).start()

    def _carry(self, channel: Any) -> None:
        try:
            sock = _dial(self._to)
        except OSError as error:
            self._say(
                f"nothing listens at {self._to} for the board's agent ({error.strerror}): is the host up?"
            )
            channel.close()
            return
        back = threading.Thread(
            target=_pump, args=(sock.recv, channel.sendall, channel.shutdown_write), daemon=True
        )
        back.start()
        _pump(channel.recv, sock.sendall, lambda: sock.shutdown(socket.SHUT_WR))
        if not channel.get_transport().is_active():
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        back.join()
        channel.close()
        sock.close()

    def _mark(self, *, is_up: bool) -> None:
        if is_up != self._up.is_set():
            self.since_unix = time.time()
            (self._up.set if is_up else self._up.clear)()

    def _say(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._changed(state)


def _dial(to: tuple[str, int] | str) -> socket.socket:
    if isinstance(to, tuple):
        found = socket.create_connection(to, 10)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        found = socket.socket(socket.AF_UNIX)
        found.connect(to)
    found.settimeout(None)
    return found


def _pump(
    read: Callable[[int], bytes], write: Callable[[bytes], object], finish: Callable[[], object]
) -> None:
    """Carry bytes one way until they end; a reader that is slow slows the writer down."""
    with contextlib.suppress(OSError, EOFError):
        while block := read(_BLOCK):
            write(block)
    with contextlib.suppress(OSError, EOFError):
        finish()
