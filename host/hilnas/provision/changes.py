"""What has to change on a board for it to be as wanted: a list, in order, each item able to do itself."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from hilnas.provision import enrol, install, layout, units
from hilnas.provision.connection import Connection
from hilnas.provision.facts import BoardFacts
from hilnas.provision.install import Progress
from hilnas.provision.state import BoardState
from hilnas.provision.wheels import Bundle

CLOCK_S = 60.0
"""Clocks may differ by so much, in s, before one is set."""
GROUPS = ("video", "i2c", "dialout", "energy")
"""Groups that may read meters; the agent's account is put into those that are there."""

_ACCOUNT = """
set -eu; account=$1
useradd --system --user-group --home-dir "$2" --no-create-home --shell /usr/sbin/nologin "$account"
install -d -o "$account" -g "$account" -m 700 "$2" "$3"
shift 3
for group; do if getent group "$group" >/dev/null; then usermod -a -G "$group" "$account"; fi; done
"""
_WRITE = """
set -eu; umask 077
mkdir -p -m 755 "$(dirname "$1")"
cat >"$1.new"; chmod "$2" "$1.new"; sync; mv -T "$1.new" "$1"
"""


@dataclass(frozen=True)
class Change:
    """One change: what a person reads, and what does it."""

    text: str
    apply: Callable[[], object]
    restarts: bool = False
    """The agent must be started anew for it."""


@dataclass(frozen=True)
class Wanted:
    """How a board should be."""

    device: str
    bundle: Bundle
    environment: str | None
    """Text of the agent's environment file; None leaves it as it is."""
    governor: bool | None
    """None leaves it as it is."""
    set_clock: bool = False
    enrolment: enrol.Enrolment | None = None


def plan(
    board: Connection, facts: BoardFacts, state: BoardState, wanted: Wanted, progress: Progress
) -> list[Change]:
    """Return what has to change before the agent is started; empty when all is as wanted."""
    found: list[Change] = []
    if wanted.set_clock and abs(facts.clock_off_s) > CLOCK_S:
        found.append(Change("set the clock", lambda: set_clock(board)))
    if not state.account:
        found.append(Change(f"make the account {layout.USER}", lambda: _make_account(board)))
    release = wanted.bundle.release
    if release not in state.releases:
        install.check_room(facts, wanted.bundle, str(board.target))
        found.append(
            Change(
                f"install the release {release}",
                lambda: install.install(board, facts, wanted.bundle, progress),
            )
        )
    enrolment = wanted.enrolment
    if enrolment is not None and (why := enrol.due(state, enrolment, wanted.device)):
        found.append(
            Change(
                f"give it a certificate as {wanted.device} ({why})",
                lambda: enrol.enrol(board, enrolment, wanted.device),
                restarts=True,
            )
        )
    if wanted.environment is not None:
        found += _file(board, state, layout.ENVIRONMENT, wanted.environment, "600")
    if facts.systemd:
        found += _units(board, facts, state, wanted)
    if state.current != release:
        found.append(Change(f"switch to {release}", lambda: install.switch(board, release), restarts=True))
    return found


def _units(board: Connection, facts: BoardFacts, state: BoardState, wanted: Wanted) -> list[Change]:
    found = []
    for name in (layout.AGENT_UNIT, layout.GOVERNOR_UNIT):
        found += _file(
            board, state, f"{layout.UNITS}/{name}", units.unit(name), "644", name == layout.AGENT_UNIT
        )
    if found:
        found.append(Change("have systemd read them", lambda: systemctl(board, "daemon-reload")))
    if layout.AGENT_UNIT not in state.enabled:
        found.append(
            Change("start the agent at boot", lambda: systemctl(board, "enable", "-q", layout.AGENT_UNIT))
        )
    if wanted.governor is not None and wanted.governor != (layout.GOVERNOR_UNIT in state.enabled):
        words = ("enable" if wanted.governor else "disable", "-q", "--now", layout.GOVERNOR_UNIT)
        text = "set the governor performance" if wanted.governor else "leave the governor alone"
        found.append(Change(text, lambda: systemctl(board, *words)))
    return found


def _file(
    board: Connection, state: BoardState, path: str, text: str, mode: str, restarts: bool = True
) -> list[Change]:
    if state.files.get(path) == hashlib.sha256(text.encode()).hexdigest():
        return []
    return [Change(f"write {path}", lambda: write(board, path, text, mode), restarts)]


def write(board: Connection, path: str, text: str, mode: str) -> None:
    """Write a file of root's, whole or not at all; `mode` in octal digits."""
    board.script(_WRITE, path, mode, what=f"write {path}", sudo=True, content=text.encode())


def systemctl(board: Connection, *words: str) -> None:
    """Have systemd do something. ProvisionError when it does not."""
    board.check(["systemctl", *words], f"have systemd {' '.join(words)}", sudo=True, timeout_s=120)


def set_clock(board: Connection) -> None:
    """Give a board this host's time."""
    board.check(["date", "-u", "-s", f"@{time.time():.0f}"], "set its clock", sudo=True)


def _make_account(board: Connection) -> None:
    board.script(
        _ACCOUNT,
        *(layout.USER, layout.STATE, layout.CACHE),
        *GROUPS,
        what=f"make the account {layout.USER}",
        sudo=True,
    )
