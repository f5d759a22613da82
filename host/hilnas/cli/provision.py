"""The commands that look after boards over SSH: `hilnas device deploy`, `upgrade`, `remove`, `tunnel`."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hilnas.cli.words import Json

if TYPE_CHECKING:
    from hilnas.daemon.fleet import LabFleet
    from hilnas.provision import DeployOptions, Enrolment, Fleet, Ready, Target

INSTALLED = 3
"""Exit code: all is installed, but nothing there starts the agent."""

Where = Annotated[
    str, typer.Argument(help="The board: user@host, user@host:port, or a Host of ~/.ssh/config.")
]
Fingerprint = Annotated[
    str, typer.Option(help="Fingerprint of the board's host key, SHA256:…; else known_hosts must have it.")
]
Jump = Annotated[str, typer.Option(help="Hosts to jump through, with commas; else as ~/.ssh/config says.")]
Key = Annotated[list[Path] | None, typer.Option(help="Private key to log in with; repeatable.")]
TokenFile = Annotated[
    Path | None, typer.Option(help="File with the host's token; else $HILNAS_TOKEN, else the lab's own.")
]
Done = TypeVar("Done")

DEPLOY_EXAMPLES = (
    "Examples:  hilnas device deploy pi@kitchen --fingerprint SHA256:…  |  "
    "hilnas device deploy pi@10.0.0.7 --jump gate.lab --name pi-7 --cpus 2,3"
)
UPGRADE_EXAMPLES = "Example:  hilnas device upgrade pi@kitchen pi@cellar"
REMOVE_EXAMPLES = "Example:  hilnas device remove pi@kitchen"
TUNNEL_EXAMPLES = "Example:  hilnas device tunnel pi@kitchen"


def deploy(
    board: Where,
    name: Annotated[str, typer.Option(help="Name of the device; else the board's host name.")] = "",
    device_class: Annotated[
        str, typer.Option("--class", help="Class of interchangeable devices; else from board and processor.")
    ] = "",
    host: Annotated[
        str,
        typer.Option(
            help="Where its agent dials, over TLS with a certificate of the lab; else through a tunnel."
        ),
    ] = "",
    fingerprint: Fingerprint = "",
    jump: Jump = "",
    key: Key = None,
    cpus: Annotated[str, typer.Option(help="Processors that measure, such as 2,3; else the fastest.")] = "",
    meter: Annotated[
        list[str] | None, typer.Option(help="An energy meter that is not found by itself; repeatable.")
    ] = None,
    governor: Annotated[
        bool, typer.Option("--governor/--no-governor", help="Have its processors run at one speed.")
    ] = True,
    set_clock: Annotated[bool, typer.Option("--set-clock", help="Give the board this host's time.")] = False,
    token_file: TokenFile = None,
    json_: Json = False,
) -> None:
    """Make a board a device: agent, account, service; a second time, change what is not as it should be.

    Exit codes: 0 done, 1 failed, 2 wrong input, 3 installed, but the board has no systemd to start it.
    """
    from hilnas.options import parse_options
    from hilnas.provision import DeployOptions, resolve

    target = resolve(board, jump=jump, keys=key or (), fingerprint=fingerprint)
    asked: dict[str, Any] = {
        "host": host or _tunnelled(),
        "name": name,
        "device_class": device_class,
        "cpus": cpus,
        "meters": tuple(meter or ()),
        "governor": governor,
        "set_clock": set_clock,
    }
    options = parse_options(DeployOptions, asked, "")
    lab = _lab_fleet()
    ready = lab.wait_ready if lab is not None else None
    if _elsewhere(options.host):
        raise typer.Exit(deploy_command(target, options, json_, enrolment=_enrolment(), ready=ready))
    # Through a tunnel it is there only once somebody holds that open: `hilnas device tunnel`.
    raise typer.Exit(deploy_command(target, options, json_, token=token(token_file)))


def upgrade(
    boards: Annotated[list[str], typer.Argument(help="The boards, as for deploy; the first goes first.")],
    jump: Jump = "",
    key: Key = None,
    json_: Json = False,
) -> None:
    """Bring boards to this host's release: the first one, and the rest when it went well; back otherwise.

    Exit codes: 0 all are upgraded, 1 one is not, 2 wrong input.
    """
    from hilnas.provision import Alone, resolve

    targets = [resolve(board, jump=jump, keys=key or ()) for board in boards]
    lab = _lab_fleet()
    classes = lab.classes() if lab is not None else {}
    named = [(target, target.name, classes.get(target.name, "")) for target in targets]
    raise typer.Exit(upgrade_command(named, lab or Alone(), json_))


def remove(
    board: Where, fingerprint: Fingerprint = "", jump: Jump = "", key: Key = None, json_: Json = False
) -> None:
    """Take the agent and all that belongs to it off a board.

    Exit codes: 0 nothing is left, 1 failed, 2 wrong input.
    """
    from hilnas.provision import remove as remove_board
    from hilnas.provision import resolve

    target = resolve(board, jump=jump, keys=key or (), fingerprint=fingerprint)
    found = known(target, lambda sure: remove_board(sure, ask=ask, progress=_say))
    if json_:
        typer.echo(json.dumps({"board": str(target), "removed": found}))
    else:
        typer.echo(f"{target}: " + ("nothing of the agent is left" if found else "there was no agent"))


def tunnel(
    board: Where,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on the board's loopback; else the lab's.")
    ] = None,
    to: Annotated[str, typer.Option(help="Where it leads, address:port; else the lab on this machine.")] = "",
    fingerprint: Fingerprint = "",
    jump: Jump = "",
    key: Key = None,
) -> None:
    """Hold a way back for a board's agent open, for a host that the board cannot dial; until Ctrl-C."""
    import threading

    from hilnas.provision import Connection, Tunnel, resolve

    target = resolve(board, jump=jump, keys=key or (), fingerprint=fingerprint)
    name, _, number = (to or _tunnelled()).rpartition(":")
    known(target, lambda sure: Connection.open(sure, ask).close())
    held = Tunnel(
        lambda: Connection.open(target, ask), port or int(number), (name, int(number)), changed=_say
    )
    held.start()
    try:
        threading.Event().wait()
    finally:
        held.stop()


def deploy_command(
    target: "Target",
    options: "DeployOptions",
    json_: bool,
    *,
    token: str = "",
    enrolment: "Enrolment | None" = None,
    ready: "Ready | None" = None,
) -> int:
    """Deploy, tell what was done, and return the exit code."""
    from hilnas.provision import deploy as deploy_board

    report = known(
        target,
        lambda sure: deploy_board(
            sure, options, token=token, enrolment=enrolment, ask=ask, progress=_say, ready=ready
        ),
    )
    if json_:
        typer.echo(json.dumps(report.to_json()))
    else:
        what = f"{len(report.changes)} changes" if report.changes else "nothing to change"
        typer.echo(f"{report.device} ({report.board}): {what}, {report.release}, {report.seconds:g} s")
        for note in report.notes:
            typer.echo(f"note: {note}")
    return 0 if report.running else INSTALLED


def upgrade_command(boards: "list[tuple[Target, str, str]]", fleet: "Fleet", json_: bool) -> int:
    """Upgrade boards, each with its name and class, tell what became of them, and return the exit code."""
    from hilnas.provision import Board, Outcome
    from hilnas.provision import upgrade as upgrade_boards

    done = upgrade_boards([Board(*board) for board in boards], fleet, ask=ask, progress=_say)
    if json_:
        typer.echo(json.dumps([each.to_json() for each in done]))
    else:
        for each in done:
            typer.echo(
                f"{each.device}: {each.outcome}, {each.release or 'release unknown'}, {each.seconds:g} s"
            )
            if each.message:
                typer.echo(each.message)
    return 0 if all(each.outcome in (Outcome.UPGRADED, Outcome.UNCHANGED) for each in done) else 1


def known(target: "Target", work: "Callable[[Target], Done]") -> Done:
    """Do something with a board whose host key may be new: a person at the terminal is shown it, and confirms.

    Without anybody at a terminal the error stands.
    """
    from hilnas.provision import UnknownHostKeyError, remember

    while True:
        try:
            return work(target)
        except UnknownHostKeyError as error:
            if not sys.stdin.isatty():
                raise
            typer.echo(str(error), err=True)
            answer = typer.prompt("The same? Type yes, or paste the fingerprint", default="no", err=True)
            if answer.strip() not in ("yes", error.fingerprint):
                raise
            typer.echo(f"kept in {remember(target, error.line)}", err=True)


def ask(question: str) -> str | None:
    """Ask for a secret at the terminal; None when nobody is there."""
    if not sys.stdin.isatty():
        return None
    answer: str = typer.prompt(
        question.rstrip(": "), hide_input=True, default="", show_default=False, err=True
    )
    return answer or None


def token(file: Path | None) -> str:
    """Return the token that agents need on this host. OptionsError when there is none."""
    from hilnas.daemon.lab import Lab, default_folder
    from hilnas.options import OptionsError

    if file is not None:
        return file.read_text(encoding="ascii").strip()
    named = os.environ.get("HILNAS_TOKEN", "")
    folder = default_folder()
    if named:
        return named
    if folder.is_dir():
        return Lab.open(folder).token()
    raise OptionsError(
        f"the agent needs a token that the host knows: give --token-file, set HILNAS_TOKEN, or start the daemon once, "
        f"which keeps one in {folder}"
    )


def add_to(group: typer.Typer) -> None:
    """Add these commands to a group."""
    for command, examples in (
        (deploy, DEPLOY_EXAMPLES),
        (upgrade, UPGRADE_EXAMPLES),
        (remove, REMOVE_EXAMPLES),
        (tunnel, TUNNEL_EXAMPLES),
    ):
        group.command(command.__name__, epilog=examples)(command)


def _enrolment() -> "Enrolment":
    """Return the lab on this machine as the one that signs for devices. SecurityError when it has no authority."""
    from hilnas.daemon.lab import Lab, default_folder
    from hilnas.provision import Enrolment, Signed
    from hilnas.security.authority import Authority
    from hilnas.security.peers import Role

    authority = Authority.open(Lab.open(default_folder()).authority)

    def sign(request: bytes, name: str) -> Signed:
        return Signed(authority.sign(request, Role.DEVICE, name), authority.certificate_pem)

    return Enrolment(sign, authority.certificate_pem)


def _lab_fleet() -> "LabFleet | None":
    """Return the devices of the daemon that runs on this machine; None when none does."""
    from hilnas.daemon.client import Where
    from hilnas.daemon.fleet import LabFleet
    from hilnas.daemon.lab import Lab, default_folder

    return LabFleet(Where()) if Lab.open(default_folder()).socket.exists() else None


def _elsewhere(address: str) -> bool:
    """Is an address another machine's than the board itself?"""
    import ipaddress

    name = address.rpartition(":")[0].strip("[]")
    try:
        return not ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name != "localhost"


def _tunnelled() -> str:
    """Return where the lab on this machine listens for agents behind tunnels: the same port on the board."""
    from hilnas.daemon.lab import Lab, default_folder

    return Lab.open(default_folder()).options.listen_local


def _say(text: str) -> None:
    typer.echo(text, err=True)
