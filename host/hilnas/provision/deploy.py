"""A board becomes a device: `deploy` brings all that is missing, and changes nothing where nothing is."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from hilnas.errors import HilnasError
from hilnas.provision import enrol, facts, layout, service, state, units
from hilnas.provision.changes import CLOCK_S, Wanted, plan
from hilnas.provision.connection import Connection
from hilnas.provision.dial import Ask, nobody
from hilnas.provision.facts import BoardFacts
from hilnas.provision.install import Progress, prune
from hilnas.provision.options import DeployOptions
from hilnas.provision.platforms import Platform
from hilnas.provision.state import BoardState
from hilnas.provision.target import Target
from hilnas.provision.wheels import Wheels

Ready = Callable[[str], object]
"""Waits until the host sees the device of that name READY; a HilnasError when it does not in time."""


@dataclass(frozen=True)
class Report:
    """What was done with a board."""

    board: str
    device: str
    machine: str
    python: str
    release: str
    changes: tuple[str, ...]
    """What was changed; empty where all was as it should be."""
    running: bool
    """The agent runs; False where there is no systemd to start it."""
    seconds: float
    notes: tuple[str, ...] = ()
    """What a person should know."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def deploy(
    target: Target,
    options: DeployOptions,
    *,
    token: str = "",
    enrolment: enrol.Enrolment | None = None,
    wheels: Wheels | None = None,
    ask: Ask = nobody,
    progress: Progress = lambda text: None,
    ready: Ready | None = None,
) -> Report:
    """Make a board a device, and wait until it is READY if `ready` can tell.

    Its agent is known to the host by a certificate (`enrolment`), or by the host's `token` where the connection comes
    through a tunnel. HilnasError says what is wrong, with which board, and what to do; the same call goes on there.
    """
    began = time.monotonic()
    with Connection.open(target, ask) as board:
        progress(f"logged in to {target}")
        found = facts.look(board)
        facts.check(found, str(target))
        if enrolment is not None:
            enrol.check(found, str(target), options.set_clock)
        device = options.name or found.hostname
        bundle = (wheels or Wheels()).gather(Platform.of(found), progress)
        there = state.read(board)
        identity = layout.IDENTITY if enrolment is not None else ""
        wanted = Wanted(
            device=device,
            bundle=bundle,
            environment=units.environment(options.arguments(device, identity), token),
            governor=options.governor,
            set_clock=options.set_clock,
            enrolment=enrolment,
        )
        changes = carry_out(board, found, there, wanted, progress)
        if found.systemd and ready is not None:
            progress(f"waiting for {device} to be ready")
            try:
                ready(device)
            except HilnasError as error:
                raise service.with_last_words(board, error) from error
        return Report(
            board=str(target),
            device=device,
            machine=found.machine,
            python=found.python.version,
            release=bundle.release,
            changes=tuple(changes),
            running=bool(found.systemd),
            seconds=round(time.monotonic() - began, 1),
            notes=tuple(_notes(found, options)),
        )


def carry_out(
    board: Connection, found: BoardFacts, there: BoardState, wanted: Wanted, progress: Progress
) -> list[str]:
    """Change what has to change, (re)start the agent where that is due, and return what was done."""
    changes = plan(board, found, there, wanted, progress)
    for change in changes:
        progress(change.text)
        change.apply()
    done = [change.text for change in changes]
    if found.systemd:
        anew = any(change.restarts for change in changes)
        runs = layout.AGENT_UNIT in there.active
        if anew or not runs:
            progress("starting the agent")
            service.start(board, anew=runs)
            done.append("start the agent anew" if runs else "start the agent")
    if wanted.bundle.release not in there.releases:
        prune(board)
    return done


def _notes(found: BoardFacts, options: DeployOptions) -> list[str]:
    notes = []
    if not found.systemd:
        notes.append(
            "this board has no systemd, so nothing starts the agent there. Start it with\n  "
            + units.start_by_hand()
        )
    if not options.set_clock and abs(found.clock_off_s) > CLOCK_S:
        notes.append(
            f"the board's clock is {abs(found.clock_off_s):.0f} s off: sudo timedatectl set-ntp true there, or --set-clock"
        )
    return notes
