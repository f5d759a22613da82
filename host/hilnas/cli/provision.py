"""The commands that look after boards over SSH: `hilnas device deploy`, `upgrade`, `remove`, `tunnel`."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilnas.cli.boards import (
    Fingerprint,
    Fingerprints,
    Jump,
    Key,
    Where,
    ask,
    device_names,
    known,
    say,
    targets,
)
from hilnas.cli.tunnel import TUNNEL_EXAMPLES, keep_tunnel, tunnel, tunnelled
from hilnas.cli.words import Json

if TYPE_CHECKING:
    from hilnas.daemon.fleet import LabFleet
    from hilnas.daemon.lab_tunnels import LabTunnels
    from hilnas.provision import DeployOptions, Enrolment, Fleet, Ready, Target

INSTALLED = 3
"""Exit code: all is installed, but nothing there starts the agent."""

TokenFile = Annotated[
    Path | None, typer.Option(help="File with the host's token; else $HILNAS_TOKEN, else the lab's own.")
]

DEPLOY_EXAMPLES = (
    "Examples:  hilnas device deploy pi@kitchen --fingerprint SHA256:…  |  "
    "hilnas device deploy pi@10.0.0.7 --jump gate.lab --name pi-7 --cpus 2,3"
)
UPGRADE_EXAMPLES = "Example:  hilnas device upgrade pi@kitchen pi@cellar"
REMOVE_EXAMPLES = "Example:  hilnas device remove pi@kitchen"


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
    tunnel: Annotated[
        bool,
        typer.Option(
            "--tunnel", help="Have the daemon on this machine hold the way back for its agent from now on."
        ),
    ] = False,
    token_file: TokenFile = None,
    json_: Json = False,
) -> None:
    """Make a board a device: agent, account, service; a second time, change what is not as it should be.

    Exit codes: 0 done, 1 failed, 2 wrong input, 3 installed, but the board has no systemd to start it.
    """
    from hilnas.options import OptionsError, parse_options
    from hilnas.provision import DeployOptions

    (target,) = targets([board], jump, key, [fingerprint] if fingerprint else None)
    asked: dict[str, Any] = {
        "host": host or tunnelled(),
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
        if tunnel:
            raise OptionsError(
                f"--host {options.host} has its agent dial there, so no tunnel is needed: leave one of the two out"
            )
        raise typer.Exit(deploy_command(target, options, json_, enrolment=_enrolment(), ready=ready))
    secret = token(token_file)
    held = _hold(target, options, ask_for=tunnel)
    code = deploy_command(target, options, json_, token=secret, ready=ready if held else None)
    if not held:
        say(f"Nobody holds its way back for good yet: hilnas device tunnel {board} --keep")
    raise typer.Exit(code)


def upgrade(
    boards: Annotated[list[str], typer.Argument(help="The boards, as for deploy; the first goes first.")],
    fingerprint: Fingerprints = None,
    jump: Jump = "",
    key: Key = None,
    json_: Json = False,
) -> None:
    """Bring boards to this host's release: the first one, and the rest when it went well; back otherwise.

    Exit codes: 0 all are upgraded, 1 one is not, 2 wrong input.
    """
    from hilnas.provision import Alone

    found = targets(boards, jump, key, fingerprint)
    lab = _lab_fleet()
    classes = lab.classes() if lab is not None else {}
    named = [
        (target, device, classes.get(device, ""))
        for target, device in zip(found, device_names(found), strict=True)
    ]
    raise typer.Exit(upgrade_command(named, lab or Alone(), json_))


def remove(
    board: Where, fingerprint: Fingerprint = "", jump: Jump = "", key: Key = None, json_: Json = False
) -> None:
    """Take the agent and all that belongs to it off a board, and the lab's key if a tunnel is kept to it.

    Exit codes: 0 nothing is left, 1 failed, 2 wrong input.
    """
    from hilnas.provision import ProvisionError
    from hilnas.provision import remove as remove_board

    (target,) = targets([board], jump, key, [fingerprint] if fingerprint else None)
    found = known(target, lambda sure: remove_board(sure, ask=ask, progress=say))
    tunnels = _lab_tunnels()
    if tunnels is not None and _is_kept(tunnels, target):
        gone = tunnels.forget(target, ask=ask, progress=say)
        if gone.left:
            raise ProvisionError("; ".join(gone.left))
        found = True
    if json_:
        typer.echo(json.dumps({"board": str(target), "removed": found}))
    else:
        typer.echo(f"{target}: " + ("nothing of the agent is left" if found else "there was no agent"))


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
            sure, options, token=token, enrolment=enrolment, ask=ask, progress=say, ready=ready
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

    done = upgrade_boards([Board(*board) for board in boards], fleet, ask=ask, progress=say)
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


def _lab_tunnels() -> "LabTunnels | None":
    """Return the tunnels of the daemon that runs on this machine; None when none does."""
    from hilnas.daemon.client import Where
    from hilnas.daemon.lab import Lab, default_folder
    from hilnas.daemon.lab_tunnels import LabTunnels

    return LabTunnels(Where()) if Lab.open(default_folder()).socket.exists() else None


def _hold(target: "Target", options: "DeployOptions", *, ask_for: bool) -> bool:
    """Have the daemon here hold the way back for a board's agent, if that is asked for; True when it does."""
    from hilnas.options import OptionsError

    tunnels = _lab_tunnels()
    port = int(options.host.rpartition(":")[2])
    if not ask_for:
        return tunnels is not None and _is_kept(tunnels, target, port)
    if tunnels is None:
        raise OptionsError(
            "--tunnel: no daemon runs on this machine that could hold it: start it with `hilnas daemon`, or hold the "
            f"tunnel yourself with `hilnas device tunnel {target}`"
        )
    keep_tunnel(tunnels, target, port)
    return True


def _is_kept(tunnels: "LabTunnels", target: "Target", port: int | None = None) -> bool:
    """Does a daemon hold a tunnel to a board, on that port if one is given? One that cannot be asked is a warning."""
    from hilnas.daemon.client import DaemonError

    try:
        found = tunnels.find(target)
    except DaemonError as error:
        say(f"Warning: whether a tunnel to {target} is kept cannot be told: {error}")
        return False
    return found is not None and port in (None, found.port)


def _elsewhere(address: str) -> bool:
    """Is an address another machine's than the board itself?"""
    import ipaddress

    name = address.rpartition(":")[0].strip("[]")
    try:
        return not ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name != "localhost"
