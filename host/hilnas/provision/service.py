"""The agent as a service of the board's systemd: started, watched for a moment, heard when it fails."""

import time

from hilnas.errors import HilnasError
from hilnas.provision import layout
from hilnas.provision.changes import systemctl
from hilnas.provision.connection import Connection
from hilnas.provision.errors import ProvisionError

_WATCH_S = 3.0
"""An agent that cannot start ends within this time."""
_LOG_LINES = "12"


def start(board: Connection, *, anew: bool) -> None:
    """Start the agent, anew if it runs and `anew` is set; ProvisionError, with its last words, when it falls over."""
    systemctl(board, "reset-failed", layout.AGENT_UNIT)
    systemctl(board, "restart" if anew else "start", layout.AGENT_UNIT)
    before = _restarts(board)
    ends_at = time.monotonic() + _WATCH_S
    while time.monotonic() < ends_at:
        time.sleep(0.5)
        state = board.run(["systemctl", "is-active", layout.AGENT_UNIT]).output.strip()
        if state not in ("active", "reloading") or _restarts(board) != before:
            raise ProvisionError(f"{board.target}: the agent does not stay up.{last_words(board)}")


def with_last_words(board: Connection, error: HilnasError) -> ProvisionError:
    """Return an error that also tells what the agent said last."""
    return ProvisionError(f"{error}{last_words(board)}")


def last_words(board: Connection) -> str:
    """Return the end of the agent's log, as lines to append; "" when it cannot be had."""
    words = ["journalctl", "-u", layout.AGENT_UNIT, "-n", _LOG_LINES, "--no-pager", "-o", "cat"]
    try:
        said = board.run(words, sudo=True).output.strip()
    except ProvisionError:
        return ""
    return f"\nIts log there ends with:\n{said}" if said else ""


def _restarts(board: Connection) -> str:
    return board.run(["systemctl", "show", "-p", "NRestarts", layout.AGENT_UNIT]).output.strip()
