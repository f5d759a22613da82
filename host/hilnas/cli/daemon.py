"""`hilnas daemon`: the service, and looking after it."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from hilnas.cli import lab as lab_commands
from hilnas.cli.where import Address, Identity, LabFolder
from hilnas.cli.words import Json

app = typer.Typer(
    help="The service that shares a lab's devices between searches.", invoke_without_command=True,
    epilog="Examples:  hilnas daemon  |  hilnas daemon status  |  hilnas daemon backup /backups/2026-11-28",
)  # fmt: skip


@app.callback()
def run(
    context: typer.Context,
    lab: LabFolder = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_json: Annotated[bool, typer.Option("--log-json", help="Log lines of JSON.")] = False,
) -> None:
    """Run the service until SIGTERM. Searches that are under way then go on with its next start."""
    if context.invoked_subcommand is not None:
        context.obj = lab
        return
    import asyncio

    from hilnas.daemon.lab import Lab, default_folder
    from hilnas.daemon.logs import set_up
    from hilnas.daemon.service import run_daemon
    from hilnas.options import OptionsError

    if log_level.lower() not in ("debug", "info", "warning", "error"):
        raise OptionsError(f'--log-level "{log_level}" is none of debug, info, warning, error')
    set_up(log_level, log_json)
    asyncio.run(run_daemon(Lab.open(lab or default_folder())))


@app.command()
def status(
    lab: LabFolder = None, daemon: Address = None, identity: Identity = None, json_: Json = False
) -> None:
    """Print how the daemon does: searches, devices, jobs, and what to look at."""
    from google.protobuf.json_format import MessageToDict

    from hilnas.daemon.client import TIMEOUT_S, Where, daemon_at
    from hilnas_protos.v1 import daemon_pb2 as api

    with daemon_at(Where.of(lab, daemon, identity)) as stubs:
        found = stubs.daemon.GetStatus(api.GetStatusRequest(), timeout=TIMEOUT_S)
    if json_:
        told = MessageToDict(
            found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        print(json.dumps(told))
        return
    hours = (time.time() - found.started_unix) / 3600
    leaving = ", leaving" if found.draining else ""
    print(f"hilnas {found.version}, up for {hours:.1f} h{leaving}; lab {found.folder}")
    print(f"agents dial {' and '.join(filter(None, [found.agents_address, found.api_address])) or 'nowhere'}")
    print(f"devices: {_counted(found.devices)}")
    print(f"searches: {_counted(found.searches)}")
    print(f"jobs: {found.jobs_running} running, {found.jobs_waiting} waiting")
    for warning in found.warnings:
        print(f"Warning: {warning}")


@app.command()
def check(lab: LabFolder = None, json_: Json = False) -> None:
    """See that a lab's record and models are whole; exit code 1 when they are not."""
    from rich.console import Console

    from hilnas.daemon.check import check_lab
    from hilnas.daemon.lab import Lab, default_folder

    opened = Lab.open(lab or default_folder())
    count = 0
    with Console(stderr=True).status("checking the record") as shown:

        def looked_at(more: int) -> None:
            nonlocal count
            count += more
            shown.update(f"checking models: {count}")

        problems = list(check_lab(opened, looked_at))
    if json_:
        print(json.dumps({"lab": str(opened.folder), "models": count, "problems": problems}))
    else:
        print("\n".join(problems) if problems else f"{opened.folder} is whole: the record, and {count} files")
    raise typer.Exit(1 if problems else 0)


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="New folder for the copy.")],
    lab: LabFolder = None,
    json_: Json = False,
) -> None:
    """Copy a lab: the record as it is at one moment, models, results, settings, certificates."""
    from hilnas.daemon.check import back_up
    from hilnas.daemon.lab import Lab, default_folder

    left_out = back_up(Lab.open(lab or default_folder()), target)
    if json_:
        print(json.dumps({"folder": str(target), "left_out": left_out}))
        return
    print(
        f"{target} is a whole lab: `hilnas daemon --lab {target}` would run it. It holds secrets: keep it safe"
    )
    for what in left_out:
        print(f"Left out: {what}")


lab_commands.add_to(app)


def _counted(counts: "dict[str, int]") -> str:
    return ", ".join(f"{count} {name.lower()}" for name, count in sorted(counts.items())) or "none"
