"""The commands about supernets: `hilnas supernet` trains one, `hilnas specialise` takes nets out of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilnas.cli.devices import farm_of
from hilnas.cli.words import Cpus, Json, Listen, Runtime, Set, Threads, Wait, Xnnpack

if TYPE_CHECKING:
    from hilnas.daemon.specialise import Goal

SUPERNET_EXAMPLES = (
    "Examples:  hilnas supernet fashion-mnist -o fashion.pt  |  "
    "hilnas supernet mine.toml --set estimator.name=supernet --set estimator.epochs=60"
)
SPECIALISE_EXAMPLES = (
    "Examples:  hilnas specialise fashion.pt --local --target '0.2 ms'  |  "
    "hilnas specialise runs/fashion --device pi4 --device pi5 --target '4 ms' --target '2 ms' "
    "--listen 127.0.0.1:50817  |  hilnas specialise fashion.pt --table pi4.jsonl --target '4 ms' --fine-tune 3  |  "
    "hilnas specialise fashion.pt --device new --like pi4.jsonl --like pi5.jsonl --target '4 ms' --listen 127.0.0.1:50817"
)


def supernet(
    recipe: Annotated[
        str | None,
        typer.Argument(help="Path of a recipe, or the name of one that ships; else the quickstart."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("supernet.pt"),
    set_: Set = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the training; else the recipe's.")] = None,
    json_: Json = False,
) -> None:
    """Train the supernet of a recipe's space on its task. Broken off, the same command goes on.

    How it is trained is said by [estimator], where that is "supernet".
    """
    from hilnas.cli.specialise import supernet_command

    supernet_command(recipe, out, set_ or [], seed, json_)


def specialise(
    supernet: Annotated[Path, typer.Argument(help="A supernet's file, or the results folder of a search.")],
    target: Annotated[
        list[str],
        typer.Option(
            help="What a net may take, e.g. '4 ms'; one for all, or one each: devices, then tables."
        ),
    ],
    device: Annotated[
        list[str] | None, typer.Option(help="Name of a device, which dials in at --listen; repeatable.")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="This machine as well; alone, without devices and tables.")
    ] = False,
    table: Annotated[
        list[Path] | None,
        typer.Option(help="A latency table of `hilnas profile --space` in place of its device; repeatable."),
    ] = None,
    like: Annotated[
        list[Path] | None,
        typer.Option(
            help="Latency table of another device, to measure a few nets alone and tell the others; repeatable."
        ),
    ] = None,
    shots: Annotated[int, typer.Option(min=3, help="Nets to measure on a device with --like.")] = 10,
    candidates: Annotated[int, typer.Option(min=12, help="Nets to try for each device.")] = 48,
    fine_tune: Annotated[
        int, typer.Option(min=0, help="Epochs to train the chosen net on; kept where that is better.")
    ] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the models.")] = Path("specialised"),
    listen: Listen = "127.0.0.1:0",
    wait_s: Wait = 60.0,
    cpus: Cpus = None,
    runtime: Runtime = "",
    threads: Threads = 1,
    xnnpack: Xnnpack = True,
    seed: Annotated[int, typer.Option(help="Seed of the choice.")] = 0,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Choose the best int8 net of a trained supernet for each device: minutes, and no training.

    Exit codes: 0 each has a net, 1 one has none within its target, 2 wrong input.
    """
    from hilnas.cli.specialise import specialise_command
    from hilnas.daemon.latency_sources import Alike
    from hilnas.daemon.specialise import Settings
    from hilnas.options import OptionsError
    from hilnas.recipe import measurement_options

    devices = [*([""] if local or not (device or table) else []), *(device or [])]
    goals = _goals(devices, table or [], target)
    farm = farm_of("any" if device else None, False, listen, wait_s, cpus)
    # The supernet says of which task and space it is; how to measure is said here.
    measuring = [change for change in set_ or [] if change.startswith("measurement.")]
    measurement = measurement_options(
        {"runtime": runtime, "threads": threads, "xnnpack": xnnpack},
        [change.removeprefix("measurement.") for change in measuring],
    )
    changes = [change for change in set_ or [] if change not in measuring]
    if like and not devices:
        raise OptionsError(
            "--like is for devices, and there are tables alone: name one with --device, or --local"
        )
    settings = Settings(
        candidates=candidates, fine_tune=fine_tune, seed=seed, alike=Alike(tuple(like or ()), shots)
    )
    code = specialise_command(supernet, goals, settings, farm, measurement, out, changes, json_)
    raise typer.Exit(code)


def _goals(devices: list[str], tables: list[Path], targets: list[str]) -> "list[Goal]":
    from hilnas.daemon.specialise import Goal
    from hilnas.options import OptionsError
    from hilnas.units import parse_quantity

    count = len(devices) + len(tables)
    if len(targets) not in (1, count):
        raise OptionsError(
            f"there are {count} devices and tables but {len(targets)} targets: give one, or one each"
        )
    try:
        each = [parse_quantity(text, "ms") for text in targets] * (count if len(targets) == 1 else 1)
    except ValueError as error:
        raise OptionsError(f"--target: {error}") from None
    if min(each) <= 0:
        raise OptionsError("--target must be above 0, e.g. '4 ms'")
    places: list[tuple[str, Path | None]] = [(name, None) for name in devices]
    places += [("", table) for table in tables]
    return [Goal(name, ms, table) for (name, table), ms in zip(places, each, strict=True)]
