"""One command on a board: its words go over quoted, its output comes back, and it has an end."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paramiko

from hilnas.provision.errors import LostLinkError, ProvisionError

_BLOCK = 1 << 15
_MOST_OUTPUT = 16 << 20
_NAP_S = 0.005
_AFTER_EXIT_S = 2.0
"""What a program left running may hold the pipes open; nobody waits longer for it."""
_AFTER_LOSS_S = 0.5


@dataclass(frozen=True)
class Result:
    """What a command ended with."""

    exit_code: int
    output: str
    errors: str

    @property
    def ok(self) -> bool:
        """True when it succeeded."""
        return self.exit_code == 0

    def last_words(self) -> str:
        """Return the last line that it said, errors first."""
        lines = [line for text in (self.errors, self.output) for line in reversed(text.strip().splitlines())]
        return lines[0].strip() if lines else f"exit code {self.exit_code}"


def run(transport: Any, name: str, words: Sequence[str], content: bytes, timeout_s: float) -> Result:
    """Run `words` with `content` as standard input. LostLinkError, or ProvisionError when it takes too long."""
    channel = None
    try:
        channel = transport.open_session(timeout=timeout_s)
        channel.exec_command(shlex.join(words))  # nosec B601
        exchange = _Exchange(channel, content)
        ends_at = time.monotonic() + timeout_s
        while not exchange.over():
            if exchange.move():
                continue
            if not transport.is_active():
                raise _lost(name, None)
            if time.monotonic() > ends_at:
                raise ProvisionError(
                    f"{name}: {shlex.join(words)[:80]} takes longer than {timeout_s:g} s: is the board overloaded, "
                    "or its card failing? (dmesg there)"
                )
            time.sleep(_NAP_S)
        exit_code = channel.recv_exit_status()
        if exit_code >= 0:
            return exchange.result(exit_code)
        # What a link that broke leaves, and a program that was killed: SSH tells its signal, paramiko does not.
        if broke_off(transport):
            raise _lost(name, None)
        raise ProvisionError(
            f"{name}: {shlex.join(words)[:80]} was killed there: has the board memory left? (dmesg there)"
        )
    except (paramiko.SSHException, OSError, EOFError) as error:
        if broke_off(transport):
            raise _lost(name, error) from error
        raise ProvisionError(
            f"{name} refuses to run a command ({error}): may the user log in to a shell there?"
        ) from error
    finally:
        if channel is not None:
            channel.close()


class _Exchange:
    """What a program is given and what it says, neither waiting for the other."""

    def __init__(self, channel: Any, content: bytes) -> None:
        self._channel = channel
        self._rest = memoryview(content)
        self._out, self._err = bytearray(), bytearray()
        self._told_all = False
        self._left_at: float | None = None

    def move(self) -> bool:
        """Move what can be moved now; False when there is nothing."""
        channel, moved = self._channel, False
        if self._rest and channel.send_ready():
            self._rest = self._rest[_send(channel, self._rest[:_BLOCK]) :]
            moved = True
        if not self._rest and not self._told_all:
            channel.shutdown_write()
            self._told_all = True
        if channel.recv_ready():
            _add(self._out, channel.recv(_BLOCK))
            moved = True
        if channel.recv_stderr_ready():
            _add(self._err, channel.recv_stderr(_BLOCK))
            moved = True
        return moved

    def over(self) -> bool:
        """True when the program has ended, and all that it said is here."""
        channel = self._channel
        if channel.recv_ready() or channel.recv_stderr_ready():
            return False
        if channel.closed:
            return True
        if not channel.exit_status_ready():
            return False
        self._left_at = self._left_at or time.monotonic()
        return channel.eof_received or time.monotonic() > self._left_at + _AFTER_EXIT_S

    def result(self, exit_code: int) -> Result:
        """Return what it ended with."""
        while self.move():
            pass
        return Result(exit_code, self._out.decode(errors="replace"), self._err.decode(errors="replace"))


def _add(to: bytearray, block: bytes) -> None:
    """Keep what was said, up to a limit: the rest is read, for the program to go on, and dropped."""
    to += block[: max(0, _MOST_OUTPUT - len(to))]


def _send(channel: Any, block: memoryview) -> int:
    """Return how much was taken; all, when the program does not read what it is given."""
    try:
        return int(channel.send(block))
    except OSError:
        if channel.get_transport().is_active():
            return len(block)
        raise


def broke_off(transport: Any) -> bool:
    """True when a transport whose channel has failed is itself lost.

    Paramiko ends the channels of a lost transport first and says that it is lost only then, so this waits a little.
    """
    transport.join(_AFTER_LOSS_S)
    return not transport.is_active()


def _lost(name: str, error: BaseException | None) -> LostLinkError:
    return LostLinkError(
        f"the connection to {name} broke off"
        + (f" ({error})" if error and str(error) else "")
        + ": is the board still on? The same command goes on where it stopped"
    )
