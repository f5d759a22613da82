"""The commands that measure on a device without a search: `hilnas measure` and `hilnas profile`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilnas.cli.words import Cpus, DeviceName, Json, Listen, Local, Runtime, Set, Threads, Wait, Xnnpack

if TYPE_CHECKING:
    from hilnas.farm import FarmOptions

_LISTEN = "127.0.0.1:0"
MEASURE_EXAMPLES = (
    "Examples:  hilnas measure net.tflite  |  hilnas measure old.tflite new.tflite --compare  |  "
    "hilnas measure *.tflite --fidelity screen --threads 2 --json  |  "
    "hilnas measure net.tflite --device kitchen-pi --listen 127.0.0.1:50817"
)
PROFILE_EXAMPLES = (
    "Examples:  hilnas profile net.tflite  |  hilnas profile --space mbconv --out table.jsonl  |  "
    "hilnas profile --space mbconv --recipe fashion-mnist --device kitchen-pi --listen 127.0.0.1:50817"
)


def measure(
    models: Annotated[list[Path], typer.Argument(help="Model files (.tflite).")],
    device: DeviceName = None,
    local: Local = False,
    listen: Listen = _LISTEN,
    wait_s: Wait = 60.0,
    cpus: Cpus = None,
    fidelity: Annotated[
        str, typer.Option(help="full: several sessions, some 15 s; screen: one of about 2 s.")
    ] = "full",
    runtime: Runtime = "",
    threads: Threads = 1,
    xnnpack: Xnnpack = True,
    energy: Annotated[
        bool | None,
        typer.Option(
            "--energy/--no-energy",
            help="A pass of its own for energy, a minute or two; else in full where there is a meter.",
        ),
    ] = None,
    meter: Annotated[
        list[str] | None,
        typer.Option(
            help="A meter of this machine that is not found by itself, such as ppk2=/dev/ttyACM0; repeatable."
        ),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            help="An .npz of inputs x, and labels y if known: how the device's outputs agree with this host's."
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Two models in turns; the ratio, and how sure it is.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the protocol, e.g. full.sessions=5; repeatable."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Measure any .tflite models: latency with its interval and verdict, memory, energy, conditions.

    Exit codes: 0 measured, 1 a measurement failed, 2 wrong input.
    """
    from hilnas.cli.measure import Wanted, measure_command
    from hilnas.recipe import measurement_options

    farm = farm_of(device, local, listen, wait_s, cpus, meter)
    asked = {"runtime": runtime, "threads": threads, "xnnpack": xnnpack, "fidelity": fidelity}
    options = measurement_options(asked, set_ or [])
    wanted = Wanted(device or "", compare, energy, examples)
    raise typer.Exit(measure_command(models, farm, options, wanted, json_))


def profile(
    model: Annotated[
        Path | None, typer.Argument(help="Model file (.tflite) whose operators to measure.")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Space whose parts to measure instead, for a latency table.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe that says task and space; else the quickstart.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The table's file, gone on with if it is there; else named by space and device."),
    ] = None,
    nets: Annotated[
        int, typer.Option(min=0, help="Whole nets to hold the table against, drawn at random.")
    ] = 30,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Measure so many parts at most, this time.")
    ] = None,
    device: DeviceName = None,
    local: Local = False,
    listen: Listen = _LISTEN,
    wait_s: Wait = 60.0,
    cpus: Cpus = None,
    fidelity: Annotated[
        str, typer.Option(help="screen: one session of about 2 s; full: several, some 15 s.")
    ] = "screen",
    runtime: Runtime = "",
    threads: Threads = 1,
    xnnpack: Xnnpack = True,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Measure a model operator by operator; or, with --space, every part that a space's nets can have.

    A table can be broken off at any time: the same command goes on with it.

    Exit codes: 0 measured, 1 something could not be measured, 2 wrong input.
    """
    from hilnas.cli.profile import TableWanted, profile_model_command, profile_space_command
    from hilnas.options import OptionsError
    from hilnas.recipe import measurement_options

    if (model is None) == (space is None and recipe is None):
        raise OptionsError("name a model file, or a --space: one of the two")
    farm = farm_of(device, local, listen, wait_s, cpus)
    changes = set_ or []
    strange = [change for change in changes if not change.startswith("measurement.")]
    if model is not None and strange:
        raise OptionsError(
            f'--set "{strange[0]}": of a model\'s profile the protocol alone can be set, '
            "e.g. measurement.screen.max_sampling_ms=500"
        )
    asked = {"runtime": runtime, "threads": threads, "xnnpack": xnnpack, "fidelity": fidelity}
    if model is not None:
        options = measurement_options(asked, [change.removeprefix("measurement.") for change in changes])
        raise typer.Exit(profile_model_command(model, farm, options, device or "", json_))
    changes += [f"space.name={space}"] if space else []
    changes += [f"measurement.{key}={json.dumps(value)}" for key, value in asked.items()]
    wanted = TableWanted(recipe, tuple(changes), out, nets, limit, device or "")
    raise typer.Exit(profile_space_command(wanted, farm, json_))


def farm_of(
    device: str | None,
    local: bool,
    listen: str,
    wait_s: float,
    cpus: str | None,
    meters: list[str] | None = None,
) -> "FarmOptions":
    """Return the farm on which a command measures."""
    from hilnas.cli.bench import whole_numbers
    from hilnas.options import OptionsError
    from hilnas.recipe import farm_options

    if local and device:
        raise OptionsError("--local and --device exclude each other")
    if meters and device:
        raise OptionsError("--meter is of this machine: give it to the hilnas-agent of the device instead")
    return farm_options(
        {
            "listen": listen,
            "local_agent": device is None,
            "wait_s": wait_s,
            "local_cpus": whole_numbers("--cpus", cpus, least=0) if cpus else [],
            "local_meters": meters or [],
        }
    )
