"""`hilnas device tunnel`: a way back for the agents of boards that only SSH reaches."""

import getpass
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilnas.cli.boards import Fingerprint, Jump, Key, Where, ask, known, say, targets
from hilnas.cli.where import Address, Identity, LabFolder
from hilnas.cli.words import Json
from hilnas.options import OptionsError

if TYPE_CHECKING:
    from hilnas.daemon.lab_tunnels import LabTunnels
    from hilnas.provision import Target

TUNNEL_EXAMPLES = (
    "Examples:  hilnas device tunnel pi@kitchen --keep  |  hilnas device tunnel --list  |  "
    "hilnas device tunnel --forget pi@kitchen"
)


def tunnel(
    board: Where = "",
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Have the daemon hold it from now on, with a key that can do no more."),
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the tunnels that the daemon holds.")] = False,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Have the daemon hold it no more, and take its key off the board."),
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on the board's loopback; else the lab's.")
    ] = None,
    to: Annotated[str, typer.Option(help="Where it leads, address:port; else the lab on this machine.")] = "",
    fingerprint: Fingerprint = "",
    jump: Jump = "",
    key: Key = None,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Hold a way back for a board's agent, for a host that the board cannot dial: until Ctrl-C, or for good.

    Exit codes: 0 done, 1 failed or not up yet, 2 wrong input.
    """
    from hilnas.daemon.client import Where as Daemon
    from hilnas.daemon.lab_tunnels import LabTunnels

    _check(board, keep=keep, list_=list_, forget=forget, to=to)
    tunnels = LabTunnels(Daemon.of(lab, daemon, identity))
    if list_:
        _print(tunnels.all(), json_)
        return
    (target,) = targets([board], jump, key, [fingerprint] if fingerprint else None)
    if forget:
        gone = known(target, lambda sure: tunnels.forget(sure, ask=ask, progress=say))
        if json_:
            typer.echo(json.dumps({"board": gone.board, "left": list(gone.left)}))
        else:
            typer.echo("\n".join([f"{gone.board}: its tunnel is kept no more", *gone.left]))
    elif keep:
        found = keep_tunnel(tunnels, target, port or tunnels.port(), wait=False)
        if json_:
            typer.echo(json.dumps(as_dict(found)))
        else:
            typer.echo(f"{found.board}: {_how(found)}")
        raise typer.Exit(0 if found.state == "UP" else 1)
    else:
        _hold(target, port, to or tunnelled(lab))


def keep_tunnel(tunnels: "LabTunnels", target: "Target", port: int, *, wait: bool = True) -> Any:
    """Have a daemon hold a tunnel; ProvisionError when it does not come up and `wait` is set."""
    from hilnas.provision import ProvisionError

    found = known(
        target,
        lambda sure: tunnels.keep(sure, port, user=getpass.getuser(), ask=ask, progress=say),
    )
    if wait and found.state != "UP":
        raise ProvisionError(f"the daemon keeps the tunnel to {found.board}, but it is down: {found.message}")
    return found


def tunnelled(lab: Path | None = None) -> str:
    """Return where the lab on this machine listens for agents behind tunnels: the same port on the board."""
    from hilnas.daemon.client import Where as Daemon
    from hilnas.daemon.lab import Lab, default_folder
    from hilnas.daemon.lab_tunnels import LabTunnels

    opened = Lab.open(lab or default_folder())
    name, _, number = opened.options.listen_local.rpartition(":")
    if number == "0" and opened.socket.exists():
        return f"{name}:{LabTunnels(Daemon(lab)).port()}"
    return opened.options.listen_local


def as_dict(found: Any) -> dict[str, Any]:
    """Return a tunnel as JSON data."""
    from google.protobuf.json_format import MessageToDict

    told: dict[str, Any] = MessageToDict(
        found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return told


def _check(board: str, *, keep: bool, list_: bool, forget: bool, to: str) -> None:
    if keep + list_ + forget > 1:
        raise OptionsError("--keep, --list and --forget are three things: give one of them")
    if list_ and board:
        raise OptionsError(f"--list lists all tunnels: leave {board} out")
    if not list_ and not board:
        raise OptionsError(
            "which board? Write user@host, user@host:port, or a Host of ~/.ssh/config; or --list"
        )
    if to and (keep or list_ or forget):
        raise OptionsError("--to is for a tunnel that you hold yourself: the daemon's lead to the daemon")


def _hold(target: "Target", port: int | None, to: str) -> None:
    """Hold a tunnel until Ctrl-C."""
    import threading

    from hilnas.provision import Connection, Tunnel

    name, _, number = to.rpartition(":")
    if not (name and number.isdigit() and 0 < int(number) < 65536):
        raise OptionsError(f'--to "{to}": write an address and a port, such as 127.0.0.1:50816')
    known(target, lambda sure: Connection.open(sure, ask).close())
    held = Tunnel(
        lambda: Connection.open(target, ask),
        port or int(number),
        (name.strip("[]"), int(number)),
        changed=say,
    )
    held.start()
    try:
        threading.Event().wait()
    finally:
        held.stop()


def _print(found: list[Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps([as_dict(each) for each in found]))
        return
    if not found:
        print("No tunnel is kept. `hilnas device tunnel pi@board --keep` has the daemon hold one")
        return
    for each in found:
        via = ", ".join(f"{hop.user}@{hop.host}" for hop in each.hops[:-1])
        print(f"{each.board}{f' by way of {via}' if via else ''}, port {each.port}: {_how(each)}")


def _how(found: Any) -> str:
    """Return how a tunnel does, in words."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.since_unix))
    return f"up since {since}" if found.state == "UP" else f"down since {since}: {found.message}"
