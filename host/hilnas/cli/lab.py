"""A lab's certificates: the commands of `hilnas daemon` that say who may come in."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilnas.cli.words import Json

if TYPE_CHECKING:
    from hilnas.daemon.lab import Lab
    from hilnas.security.authority import Authority

LabFolder = Annotated[
    Path | None,
    typer.Option("--lab", help="Folder of the daemon on this machine; else $HILNAS_LAB, or the default."),
]
JOIN_PORT, TLS_PORT = 50818, 50817
"""Ports by custom, where daemon.toml says none."""
_ADMIN = "admin"

EXAMPLES = {
    "init": "Examples:  hilnas daemon init  |  hilnas daemon init --name lab.example --name 192.0.2.7",
    "token": "Example:  hilnas daemon token kitchen-phone --device-class pixel-6-tensor-termux",
    "user": "Examples:  hilnas daemon user ada -o ada  |  hilnas daemon user bob --admin -o bob",
    "revoke": 'Example:  hilnas daemon revoke kitchen-phone --reason "lost on the train"',
    "certificates": "Example:  hilnas daemon certificates --all",
    "names": "Examples:  hilnas daemon names  |  hilnas daemon names lab.example 192.0.2.7",
}


def add_to(group: typer.Typer) -> None:
    """Add these commands to a group."""
    for command in (init, token, user, revoke, certificates, names):
        name = command.__name__
        group.command(name, epilog=EXAMPLES[name])(command)


def init(
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or address by which this machine is dialled; repeatable. Else all that it has."
        ),
    ] = None,
    lab: LabFolder = None,
    json_: Json = False,
) -> None:
    """Make a lab's certificate authority, this machine's own certificate, and one for its first admin."""
    from hilnas.security.authority import Authority
    from hilnas.security.bundles import make_bundle
    from hilnas.security.certificates import alternatives_of
    from hilnas.security.credentials import ServerCertificate
    from hilnas.security.hosts import hostname, own_names
    from hilnas.security.peers import Role

    opened = _lab(lab)
    known = name or own_names()
    alternatives_of(known)  # a wrong one is to be told before anything is made
    authority = Authority.create(opened.authority, hostname())
    ServerCertificate(authority).make(known)
    admin = opened.folder / _ADMIN
    if not admin.exists():
        make_bundle(authority, Role.ADMIN, _ADMIN, admin)
    data = {
        "lab": str(opened.folder),
        "ca_fingerprint": authority.fingerprint(),
        "names": known,
        "admin": str(admin),
    }
    if json_:
        print(json.dumps(data))
        return
    print(f"The lab in {opened.folder} has an authority: {authority.fingerprint()}")
    print(f"This machine is known as {', '.join(known)}; `hilnas daemon names` changes that.")
    print(f"An admin's certificate is in {admin}, for `--identity`; keep it, and {opened.authority}, secret.")
    print("\nNext:")
    options = opened.options
    if not (options.listen and options.listen_join):
        print(f"  in {opened.folder / 'daemon.toml'}, to let devices and people elsewhere in:")
        print(f'    listen = "{options.listen or f"0.0.0.0:{TLS_PORT}"}"')
        print(f'    listen_join = "{options.listen_join or f"0.0.0.0:{JOIN_PORT}"}"')
    print("  hilnas daemon                     start it, or start it anew")
    print("  hilnas daemon token NAME          let a device in")
    print("  hilnas daemon user NAME -o NAME   let a person in")


def token(
    name: Annotated[str, typer.Argument(help="Name of the device, unique in the lab.")],
    device_class: Annotated[
        str, typer.Option(help="Class that the device is to have; else by its own word.")
    ] = "",
    minutes: Annotated[float, typer.Option(help="How long the token is good.")] = 15,
    lab: LabFolder = None,
    json_: Json = False,
) -> None:
    """Make a token with which one device joins, once, and print the command for it."""
    from hilnas.security.credentials import ServerCertificate
    from hilnas.security.tokens import JoinTokens

    opened = _lab(lab)
    authority = _authority(opened)
    listen = opened.options.listen_join
    address = f"{_best(ServerCertificate(authority).names())}:{listen.rpartition(':')[2] or JOIN_PORT}"
    made = JoinTokens.beside(authority).create(name, device_class, minutes)
    command = f"hilnas-agent join {address} --ca-fingerprint {authority.fingerprint()} --token-file -"
    if json_:
        print(
            json.dumps({"name": name, "token": made, "minutes": minutes, "command": command, "host": address})
        )
        return
    print(f"On {name}, within {minutes:g} minutes:\n\n  {command}\n")
    print(f"and, when it asks for it, the token (shown here once):\n\n  {made}\n")
    if not listen:
        print(
            f"Warning: the daemon lets no devices in: set listen_join in {opened.folder / 'daemon.toml'}, such as "
            f'"0.0.0.0:{JOIN_PORT}", and start it anew'
        )


def user(
    name: Annotated[str, typer.Argument(help="Name of the person.")],
    folder: Annotated[Path, typer.Option("--output", "-o", help="New folder for certificate and key.")],
    admin: Annotated[bool, typer.Option("--admin", help="They may do everything.")] = False,
    days: Annotated[float, typer.Option(help="How long the certificate is good.")] = 365,
    lab: LabFolder = None,
    json_: Json = False,
) -> None:
    """Make a person's certificate with its key, as a folder to hand over."""
    from hilnas.security.bundles import make_bundle
    from hilnas.security.peers import Role

    opened = _lab(lab)
    role = Role.ADMIN if admin else Role.USER
    make_bundle(_authority(opened), role, name, folder, days)
    if json_:
        print(json.dumps({"name": name, "role": role.value, "folder": str(folder)}))
        return
    print(f"{folder} holds the certificate of {role} {name} and its key. Hand it over by a way that nobody")
    print("else can read, then remove it here. They name it in --identity or HILNAS_IDENTITY.")


def revoke(
    name: Annotated[str, typer.Argument(help="Name of the device or person, or a serial number.")],
    reason: Annotated[str, typer.Option(help="Why; it is told to whoever comes with the certificate.")] = "",
    lab: LabFolder = None,
    json_: Json = False,
) -> None:
    """Revoke all certificates of a name, and its join tokens; a daemon that runs notices within seconds."""
    from hilnas.security.errors import SecurityError
    from hilnas.security.tokens import JoinTokens

    authority = _authority(_lab(lab))
    serials = {f"{one.serial:x}": one.serial for one in authority.issued()}
    withdrawn = JoinTokens.beside(authority).withdraw(name)
    try:
        revoked = authority.revoke(serials.get(name.lower(), name), reason)
    except SecurityError:
        if not withdrawn:
            raise
        revoked = []
    if json_:
        data = [{"serial": f"{one.serial:x}", "role": one.role, "name": one.name} for one in revoked]
        print(json.dumps({"revoked": data, "tokens": withdrawn}))
        return
    for one in revoked:
        print(f"Revoked: {one.role} {one.name}, serial {one.serial:x}")
    if withdrawn:
        print(f"Join tokens made worthless: {withdrawn}")


def certificates(
    all_: Annotated[bool, typer.Option("--all", help="Those that ended or were revoked, too.")] = False,
    lab: LabFolder = None,
    json_: Json = False,
) -> None:
    """List the certificates that were signed, and how each stands."""
    authority = _authority(_lab(lab))
    rows = []
    for one in authority.issued():
        revocation = authority.revocation(one.serial)
        state = "revoked" if revocation else "ended" if one.not_after <= time.time() else "good"
        if all_ or state == "good":
            rows.append(
                {
                    "name": one.name, "role": one.role, "state": state, "not_after_unix": int(one.not_after),
                    "serial": f"{one.serial:x}", "reason": revocation.reason if revocation else "",
                }
            )  # fmt: skip
    if json_:
        print(json.dumps(rows))
        return
    print(f"authority {authority.fingerprint()}, until {_date(authority.ends_unix)}")
    _print_rows(rows)


def names(
    new: Annotated[
        list[str] | None, typer.Argument(help="Names and addresses by which this machine is dialled.")
    ] = None,
    lab: LabFolder = None,
    json_: Json = False,
) -> None:
    """Print the names that this machine's certificate is good for, or make a certificate for others."""
    from hilnas.security.credentials import ServerCertificate

    certificate = ServerCertificate(_authority(_lab(lab)))
    if new:
        certificate.make(new)
    found = certificate.names()
    if json_:
        print(json.dumps({"names": found, "not_after_unix": int(certificate.ends_unix())}))
        return
    print("\n".join(found))
    if new:
        print("A daemon that runs shows the new certificate to whoever dials from now on.")


def _lab(folder: Path | None) -> "Lab":
    from hilnas.daemon.lab import Lab, default_folder

    return Lab.open(folder or default_folder())


def _authority(lab: "Lab") -> "Authority":
    from hilnas.security.authority import Authority

    return Authority.open(lab.authority)


def _best(names: list[str]) -> str:
    """Return the name to dial from elsewhere: not this machine's word for itself, where there is another."""
    others = [name for name in names if name not in ("localhost", "::1") and not name.startswith("127.")]
    best = (others or names)[0]
    return f"[{best}]" if ":" in best else best


def _date(unix: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix))


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("name", "role", "state", "until", "serial", "reason"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(
            *(str(row[key]) for key in ("name", "role", "state")), _date(row["not_after_unix"]), row["serial"],
            row["reason"],
        )  # fmt: skip
    Console().print(table)
