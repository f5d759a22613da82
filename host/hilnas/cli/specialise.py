"""What `hilnas supernet` and `hilnas specialise` do and print."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from hilnas.cli.phases import shown
from hilnas.daemon.specialise import (
    Goal,
    Settings,
    Specialised,
    read_supernet,
    recipe_of,
    specialise_all,
)
from hilnas.daemon.supernet import train_supernet
from hilnas.farm import FarmOptions, MeasurementOptions
from hilnas.recipe import load_recipe
from hilnas.store.files import write_atomically


def supernet_command(
    source: str | None, out: Path, overrides: Sequence[str], seed: int | None, as_json: bool
) -> None:
    """Train with a bar, and say where the file is."""
    recipe = load_recipe(source, overrides, seed)
    console = Console(stderr=as_json, highlight=False, markup=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        row = bar.add_task(f"training the supernet of {recipe.search.name}", total=1.0)
        seconds = train_supernet(recipe, out, lambda share: bar.update(row, completed=share))
    if as_json:
        print(json.dumps({"file": str(out), "seconds": seconds}))
    else:
        console.print(f"{out}: trained, {seconds:.0f} s. Next:  hilnas specialise {out} --target '1 ms'")


def specialise_command(
    source: Path,
    goals: Sequence[Goal],
    settings: Settings,
    farm: FarmOptions,
    measurement: MeasurementOptions,
    out: Path,
    overrides: Sequence[str],
    as_json: bool,
) -> int:
    """Specialise, write a folder for each device, print the table; return the exit code."""
    content = read_supernet(source)
    recipe = recipe_of(content, str(source), overrides)
    console = Console(stderr=as_json, highlight=False, markup=False, soft_wrap=True)
    out.mkdir(parents=True, exist_ok=True)
    with shown(console) as show:
        found = specialise_all(content, recipe, goals, settings, farm, measurement, out, show)
    names = [one.name for one in found]
    # A device that was asked for twice, with two targets, gets two folders.
    folders = [
        one.name if names.count(one.name) == 1 else f"{one.name}-{one.goal.target_ms:g}ms" for one in found
    ]
    rows = [_written(one, out / folder) for one, folder in zip(found, folders, strict=True)]
    write_atomically(out / "specialised.json", json.dumps(rows, indent=1).encode())
    if as_json:
        print(json.dumps(rows))
    else:
        _print(console, rows)
    return 0 if all(row["model"] for row in rows) else 1


def _written(one: Specialised, folder: Path) -> dict[str, Any]:
    """Write a device's model and architecture into a folder, and return what is to be told of it."""
    found, chosen = one.found, one.found.chosen
    fastest = found.fastest
    row: dict[str, Any] = {
        "device": one.name,
        "device_class": found.source.device_class,
        "by_table": str(one.goal.table) if one.goal.table else None,
        "target_ms": one.goal.target_ms,
        "tried": len(found.trials),
        "within_target": sum(
            (found.latency_ms(t) or one.goal.target_ms + 1) <= one.goal.target_ms for t in found.trials
        ),
        "fastest_ms": found.latency_ms(fastest) if fastest else None,
        "latency_ms": None,
        "verdict": None,
        "model": None,
        **one.facts,
    }
    if chosen is None:
        return row
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "model.tflite", one.model)
    architecture = json.dumps(chosen.architecture.to_json(), indent=1)
    write_atomically(folder / "architecture.json", architecture.encode())
    row.update(
        latency_ms=found.latency_ms(chosen),
        verdict=chosen.measurements[0].verdict.value,
        model=str(folder / "model.tflite"),
        architecture=chosen.architecture.to_json(),
    )
    return row


def _print(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="A net for each device", box=SIMPLE_HEAD)
    table.add_column("device")
    for heading in ("target ms", "latency ms", "validation %", "test %", "tuned", "tried"):
        table.add_column(heading, justify="right")
    for row in rows:
        doubt = "~" if row["verdict"] == "UNSTABLE" else ""
        table.add_row(
            row["device"] + (" (table)" if row["by_table"] else ""),
            f"{row['target_ms']:.4g}",
            "–" if row["latency_ms"] is None else f"{doubt}{row['latency_ms']:.4g}",
            _percent(row.get("validation_accuracy")),
            _percent(row.get("test_accuracy")),
            "yes" if row.get("fine_tuned") else "no",
            str(row["tried"]),
        )
    console.print(table)
    if any(row["verdict"] == "UNSTABLE" for row in rows):
        console.print(
            "~ UNSTABLE: a rule of the protocol was broken; `hilnas measure` says which", style="dim"
        )
    if any(row["by_table"] for row in rows):
        console.print(
            "(table): by the sum of its parts, not measured: `hilnas measure` the model on the device"
        )
    for row in rows:
        if row["model"] is None:
            fastest = (
                "none gave a figure"
                if row["fastest_ms"] is None
                else f"the fastest takes {row['fastest_ms']:.4g} ms"
            )
            console.print(
                f"{row['device']}: none of {row['tried']} nets keeps to {row['target_ms']:.4g} ms, {fastest}: "
                "raise --target or --candidates, or train a supernet of a space with smaller nets"
            )
        else:
            console.print(f"{row['device']}: {row['model']}")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}"
