"""New releases for boards that run: one of each class first, and back to the old one when anything fails."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Protocol

from hilnas.errors import HilnasError
from hilnas.provision import facts, install, layout, service, state, units
from hilnas.provision.changes import Wanted, systemctl, write
from hilnas.provision.connection import Connection
from hilnas.provision.deploy import carry_out
from hilnas.provision.dial import Ask, nobody
from hilnas.provision.errors import ProvisionError, UnfitBoardError
from hilnas.provision.install import Progress
from hilnas.provision.platforms import Platform
from hilnas.provision.state import BoardState
from hilnas.provision.target import Target
from hilnas.provision.wheels import Wheels

_UNITS = (layout.AGENT_UNIT, layout.GOVERNOR_UNIT)


class Fleet(Protocol):
    """What the host does for devices while they are upgraded. Each is given a device's name, and may raise HilnasError."""

    def drain(self, device: str) -> object:
        """Return when no job runs on it, and none will be given to it."""

    def wait_ready(self, device: str) -> object:
        """Return when its new agent has dialled in and could take jobs."""

    def canary(self, device: str) -> object:
        """Measure the reference model; an error when its figure is not what it was."""

    def release(self, device: str) -> object:
        """Give it jobs again."""


class Alone:
    """A fleet without a host that could tell: the agent's staying up is all that is asked for."""

    def drain(self, device: str) -> None:
        """Nobody gives it jobs."""

    def wait_ready(self, device: str) -> None:
        """Nobody can tell."""

    def canary(self, device: str) -> None:
        """Nobody measures."""

    def release(self, device: str) -> None:
        """Nobody gives it jobs."""


@dataclass(frozen=True)
class Board:
    """A device that is a board: how it is reached, its name and class."""

    target: Target
    device: str
    device_class: str = ""


class Outcome(StrEnum):
    """What became of a board."""

    UPGRADED = "upgraded"
    UNCHANGED = "unchanged"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Upgrade:
    """What became of one board, and why."""

    board: str
    device: str
    outcome: Outcome
    release: str = ""
    """Release that it runs now; empty when that is not known."""
    before: str = ""
    message: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def upgrade(
    boards: Sequence[Board],
    fleet: Fleet,
    *,
    wheels: Wheels | None = None,
    ask: Ask = nobody,
    progress: Progress = lambda text: None,
) -> list[Upgrade]:
    """Bring boards to this host's release, one after the other, and tell what became of each.

    Of each class one goes first; when it fails, the others of the class are left alone. A board is drained while it
    changes, must be ready and measure the canary as before, and goes back to its earlier release otherwise.
    """
    source = wheels or Wheels()
    failed: dict[str, str] = {}
    found = []
    for board in boards:
        group = board.device_class or board.device
        if group in failed:
            words = f"{failed[group]}, of the same class, failed first: mend that one, then upgrade again"
            found.append(Upgrade(str(board.target), board.device, Outcome.NOT_TRIED, message=words))
            continue
        done = _one(board, fleet, source, ask, progress)
        found.append(done)
        if done.outcome not in (Outcome.UPGRADED, Outcome.UNCHANGED):
            failed[group] = board.device
    return found


def _one(board: Board, fleet: Fleet, wheels: Wheels, ask: Ask, progress: Progress) -> Upgrade:
    began = time.monotonic()
    step = _Step(board, fleet, wheels, ask, lambda text: progress(f"{board.device}: {text}"))
    try:
        outcome, message = step.run(), ""
    except HilnasError as error:
        outcome, message = step.outcome, str(error)
    seconds = round(time.monotonic() - began, 1)
    return Upgrade(
        str(board.target), board.device, outcome, step.release, step.before.current, message, seconds
    )


class _Step:
    """One board's upgrade; `outcome` is what an error has left it in."""

    def __init__(self, board: Board, fleet: Fleet, wheels: Wheels, ask: Ask, progress: Progress) -> None:
        self._board, self._fleet, self._wheels = board, fleet, wheels
        self._ask, self._progress = ask, progress
        self._texts: dict[str, str] = {}
        self.before = BoardState()
        self.outcome = Outcome.FAILED
        self.release = ""

    def run(self) -> Outcome:
        """Upgrade it, or roll it back and raise what was wrong."""
        device, fleet = self._board.device, self._fleet
        with self._connect() as link:
            found = facts.look(link)
            facts.check(found, str(self._board.target))
            if not found.systemd:
                raise UnfitBoardError(
                    f"{self._board.target} has no systemd, so its agent cannot be started anew from here: deploy again, "
                    "and start it there"
                )
            self.before = state.read(link)
            self.release = self.before.current
            if not self.before.current:
                raise UnfitBoardError(f"{self._board.target} has no agent yet: deploy first")
            wanted = Wanted(device, self._wheels.gather(Platform.of(found), self._progress), None, None)
            if wanted.bundle.release == self.before.current and self._same_units(self.before):
                return Outcome.UNCHANGED
            self._texts = {name: self._text(link, name) for name in _UNITS}
            self._progress("draining")
            fleet.drain(device)
            try:
                install.check_room(found, wanted.bundle, str(self._board.target))
                carry_out(link, found, self.before, wanted, self._progress)
                self._look_after()
            except HilnasError as error:
                words = self._roll_back(error, link)
                raise ProvisionError(words) from error
        self.release = wanted.bundle.release
        fleet.release(device)
        return Outcome.UPGRADED

    def _connect(self) -> Connection:
        return Connection.open(self._board.target, self._ask)

    def _look_after(self) -> None:
        """Raise what the host finds wrong with the device now."""
        self._progress("waiting for it to be ready")
        self._fleet.wait_ready(self._board.device)
        self._progress("measuring the canary")
        self._fleet.canary(self._board.device)

    def _roll_back(self, why: HilnasError, link: Connection) -> str:
        """Put everything back as it was, over a new connection: the old one may be what failed."""
        device, earlier = self._board.device, self.before.current
        said = service.last_words(link) if link.transport.is_active() else ""
        self._progress(f"going back to {earlier}")
        try:
            with self._connect() as board:
                for name, text in self._texts.items():
                    if text:
                        write(board, f"{layout.UNITS}/{name}", text, "644")
                systemctl(board, "daemon-reload")
                if state.read(board).current != earlier:
                    install.switch(board, earlier)
                service.start(board, anew=True)
                install.prune(board)
            self._fleet.wait_ready(device)
            self._fleet.release(device)
        except HilnasError as error:
            self.release = ""
            return f"{why}{said}\nGoing back to {earlier} failed too, so {device} stays out of use: {error}"
        self.outcome = Outcome.ROLLED_BACK
        return f"{why}{said}\n{device} runs {earlier} again"

    def _same_units(self, there: BoardState) -> bool:
        return all(
            there.files.get(f"{layout.UNITS}/{name}") == hashlib.sha256(units.unit(name).encode()).hexdigest()
            for name in _UNITS
        )

    def _text(self, link: Connection, name: str) -> str:
        return link.run(["cat", f"{layout.UNITS}/{name}"]).output
