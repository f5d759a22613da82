"""`hilnas device`: the devices of a daemon."""

import json
import re
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from hilnas.cli import provision
from hilnas.cli.where import Address, Identity, LabFolder
from hilnas.cli.words import Json
from hilnas.options import OptionsError

app = typer.Typer(
    help="The devices of a daemon.", no_args_is_help=True,
    epilog="Examples:  hilnas device list --label class=raspberrypi4-cortexa72  |  hilnas device reserve pi-3 --for 2h",
)  # fmt: skip
provision.add_to(app)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the device.")]
Why = Annotated[str, typer.Option(help="Reason, for the history.")]
Labels = Annotated[list[str], typer.Argument(metavar="KEY=VALUE…", help="Labels; KEY= takes one away.")]
Wanted = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="KEY=VALUE", help="Only devices with this label (class and state too); repeatable."
    ),
]
_UNITS = {"m": 60, "h": 3600, "d": 86_400}


@app.command("list")
def list_(
    label: Wanted = None,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """List the devices, what they do, and who holds them."""
    from hilnas_protos.v1 import daemon_pb2 as api

    request = api.ListDevicesRequest(labels=_labels(label or []))
    found = _call("ListDevices", request, lab, daemon, identity).devices
    if json_:
        print(json.dumps([as_dict(device) for device in found]))
        return
    if not found:
        print("There is no such device" if label else "There are no devices yet: see deploy/README.md")
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("name", "class", "state", "since", "held by", "seen", "labels"):
        table.add_column(column, overflow="fold")
    for device in found:
        labels = " ".join(f"{key}={value}" for key, value in sorted(device.labels.items()))
        table.add_row(
            device.name, device.device_class, device.state, _ago(device.since_unix), _holder(device),
            _ago(device.seen_unix), labels,
        )  # fmt: skip
    Console(highlight=False).print(table)


@app.command()
def show(
    name: Name, lab: LabFolder = None, daemon: Address = None, identity: Identity = None, json_: Json = False
) -> None:
    """Print all that is known of a device."""
    from hilnas_protos.v1 import daemon_pb2 as api

    _print(_call("GetDevice", api.GetDeviceRequest(name=name), lab, daemon, identity), json_)


@app.command()
def add(
    name: Name,
    device_class: Annotated[
        str, typer.Option("--class", help="Class it shall have; else its own word.")
    ] = "",
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; repeatable.")] = None,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Announce a device before it dials in."""
    from hilnas_protos.v1 import daemon_pb2 as api

    request = api.AddDeviceRequest(name=name, device_class=device_class, labels=_labels(label or []))
    _print(_call("AddDevice", request, lab, daemon, identity), json_)


@app.command()
def drain(
    name: Name,
    why: Why = "",
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Let a device finish its job, and give it no more."""
    _change(name, "drain", why, lab, daemon, identity, json_)


@app.command()
def release(
    name: Name,
    why: Why = "",
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Give a device jobs again: out of draining, quarantine, retirement, or a reservation."""
    _change(name, "release", why, lab, daemon, identity, json_)


@app.command()
def retire(
    name: Name,
    why: Why = "",
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Take a device out of service."""
    _change(name, "retire", why, lab, daemon, identity, json_)


@app.command()
def probe(
    name: Name,
    why: Why = "",
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Have a device read the reference model before it gets jobs again."""
    _change(name, "probe", why, lab, daemon, identity, json_)


@app.command()
def label(
    name: Name,
    labels: Labels,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Set labels of a device, such as site=cellar."""
    from hilnas_protos.v1 import daemon_pb2 as api

    request = api.LabelDeviceRequest(name=name, labels=_labels(labels))
    _print(_call("LabelDevice", request, lab, daemon, identity), json_)


@app.command()
def history(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Events, the newest first.")] = 30,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Print what happened to a device."""
    from hilnas_protos.v1 import daemon_pb2 as api

    request = api.GetDeviceHistoryRequest(name=name, limit=limit)
    events = _call("GetDeviceHistory", request, lab, daemon, identity).events
    if json_:
        print(json.dumps([{"at_unix": e.at_unix, "kind": e.kind, "text": e.text} for e in events]))
        return
    for event in events:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at_unix))
        print(f"{at}  {event.kind:<12} {event.text}")


@app.command()
def reserve(
    name: Name,
    time_: Annotated[str, typer.Option("--for", help="How long, such as 30m, 2h or 3d.")],
    user: Annotated[str, typer.Option(help="For whom; else yourself.")] = "",
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Keep a device for a person: nobody else's jobs run there for a time."""
    import getpass

    from hilnas.daemon.client import Where
    from hilnas_protos.v1 import daemon_pb2 as api

    remote = Where.of(lab, daemon, identity).address
    request = api.ReserveDeviceRequest(
        name=name, seconds=seconds(time_), user=user or ("" if remote else getpass.getuser())
    )
    _print(_call("ReserveDevice", request, lab, daemon, identity), json_)


def seconds(text: str) -> float:
    """Return a time such as 30m, 2h or 3d in seconds. OptionsError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text.strip())
    if not found or not float(found[1]):
        raise OptionsError(f'"{text}" is no time: write 30m, 2h or 3d')
    return float(found[1]) * _UNITS[found[2]]


def _labels(words: list[str]) -> dict[str, str]:
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[\w.-]{1,64}", key) or len(value) > 200:
            raise OptionsError(f'"{word}" is no label: write KEY=VALUE, such as site=cellar')
        found[key] = value
    return found


def _change(
    name: str, action: str, why: str, lab: Path | None, daemon: str | None, identity: Path | None, json_: bool
) -> None:
    from hilnas_protos.v1 import daemon_pb2 as api

    request = api.ChangeDeviceRequest(name=name, action=action, reason=why)
    _print(_call("ChangeDevice", request, lab, daemon, identity), json_)


def _call(method: str, request: Any, lab: Path | None, daemon: str | None, identity: Path | None) -> Any:
    from hilnas.daemon.client import TIMEOUT_S, Where, daemon_at

    with daemon_at(Where.of(lab, daemon, identity)) as stubs:
        return getattr(stubs.devices, method)(request, timeout=TIMEOUT_S)


def as_dict(device: Any) -> dict[str, Any]:
    """Return a device as JSON data, its facts as an object."""
    from google.protobuf.json_format import MessageToDict

    told: dict[str, Any] = MessageToDict(
        device, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return told | {"facts": json.loads(device.facts) if device.facts else None, "agent_kib": device.agent_kib}


def _print(device: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(as_dict(device)))
        return
    print(f"{device.name}  {device.device_class or 'class not known yet'}")
    reason = f": {device.reason}" if device.reason else ""
    print(f"{device.state.lower()} since {_ago(device.since_unix)}{reason}; seen {_ago(device.seen_unix)}")
    if held := _holder(device):
        print(f"held by {held}")
    for key, value in sorted(device.labels.items()):
        print(f"  {key} = {value}")


def _holder(device: Any) -> str:
    since = f"since {_ago(device.held_since_unix)}"
    if device.search:
        return f"{device.user or 'somebody'} ({device.search[:8]}) {since}"
    if device.reserved_until_unix:
        until = time.strftime("%a %H:%M", time.localtime(device.reserved_until_unix))
        return f"{device.user} {since} until {until}"
    return ""


def _ago(at_unix: float) -> str:
    if not at_unix:
        return "never"
    passed = max(0.0, time.time() - at_unix)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if passed >= 2 * length:
            return f"{passed / length:.0f} {unit} ago"
    return f"{passed:.0f} s ago"
