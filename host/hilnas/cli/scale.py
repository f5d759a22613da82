"""The command `hilnas scale`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hilnas.cli.devices import farm_of
from hilnas.cli.words import Cpus, DeviceName, Json, Listen, Runtime, Set, Threads, Wait, Xnnpack

EXAMPLES = (
    "Examples:  hilnas scale runs/fashion/architecture.json --recipe fashion-mnist --target '0.2 ms' --target '1 ms'  |  "
    "hilnas scale net.json --recipe mine.toml --target '4 ms' --device pi4 --listen 127.0.0.1:50817 --no-train"
)


def scale(
    architecture: Annotated[
        Path, typer.Argument(help="The base net as JSON, such as architecture.json of a run.")
    ],
    target: Annotated[list[str], typer.Option(help="Latency of a member, e.g. '4 ms'; repeatable.")],
    recipe: Annotated[
        str | None,
        typer.Option(help="Recipe that says task, space, [final] and [measurement]; else the quickstart."),
    ] = None,
    alpha: Annotated[float, typer.Option(min=1.0, help="Growth of depth.")] = 1.2,
    beta: Annotated[float, typer.Option(min=1.0, help="Growth of width.")] = 1.1,
    gamma: Annotated[float, typer.Option(min=1.0, help="Growth of resolution.")] = 1.15,
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="Train each member as [final] says.")
    ] = True,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the models.")] = Path("family"),
    device: DeviceName = None,
    listen: Listen = "127.0.0.1:0",
    wait_s: Wait = 60.0,
    cpus: Cpus = None,
    runtime: Runtime = "",
    threads: Threads = 1,
    xnnpack: Xnnpack = True,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Scale a net in depth, width and resolution to latency targets of a device; train and measure each member.

    Exit codes: 0 each target has a net, 1 one has none, 2 wrong input.
    """
    from hilnas.cli.scaling import scale_command
    from hilnas.recipe import load_recipe
    from hilnas.search.scaling import Compound

    asked = {"runtime": runtime, "threads": threads, "xnnpack": xnnpack}
    changes = [*(set_ or []), *(f"measurement.{key}={json.dumps(value)}" for key, value in asked.items())]
    whole = load_recipe(recipe, changes)
    code = scale_command(
        architecture,
        target,
        whole,
        Compound(alpha, beta, gamma),
        train,
        farm_of(device, False, listen, wait_s, cpus),
        whole.measurement,
        device or "",
        out,
        json_,
    )
    raise typer.Exit(code)
