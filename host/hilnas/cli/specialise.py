"""What `hilnas supernet` and `hilnas specialise` do and print."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hilnas.cli.phases import shown
from hilnas.daemon.few_shot import FewShotSource
from hilnas.daemon.specialise import (
    Goal,
    Settings,
    Specialised,
    goal_name,
    read_supernet,
    recipe_of,
    specialise_all,
)
from hilnas.daemon.supernet import train_supernet
from hilnas.farm import FarmOptions, MeasurementOptions
from hilnas.recipe import load_recipe
from hilnas.search.specialise import Specialisation
from hilnas.store.files import write_atomically


def supernet_command(
    source: str | None, out: Path, overrides: Sequence[str], seed: int | None, as_json: bool
) -> None:
    """Train, and say where the file is."""
    recipe = load_recipe(source, overrides, seed)
    console = Console(stderr=as_json, highlight=False, markup=False, soft_wrap=True)
    with shown(console) as show:
        show.phase, show.total = f"training the supernet of {recipe.search.name}, percent", 100

        def told(share: float) -> None:
            show.done = int(100 * share)

        seconds = train_supernet(recipe, out, told)
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
    folders = iter(_folders(goals))
    rows: list[dict[str, Any]] = []

    def keep(one: Specialised) -> None:
        rows.append(_written(one, out / next(folders)))
        write_atomically(out / "specialised.json", json.dumps(rows, indent=1).encode())

    with shown(console) as show:
        specialise_all(content, recipe, goals, settings, farm, measurement, out, show, keep)
    if as_json:
        print(json.dumps(rows))
    else:
        _print(console, rows)
    return 0 if all(row["model"] for row in rows) else 1


def _folders(goals: Sequence[Goal]) -> list[str]:
    """Name a folder for each goal: by its device or table, what tells it from others of that name, and a number."""
    found: list[str] = []
    for goal in goals:
        name = goal_name(goal)
        if sum(goal_name(other) == name for other in goals) > 1:
            name = f"{name}-{goal.target_ms:g}ms"
        same = found.count(name)
        found.append(f"{name}-{same + 1}" if same else name)
    return found


def _written(one: Specialised, folder: Path) -> dict[str, Any]:
    """Write a device's model and architecture into a folder, and return what is to be told of it."""
    found, target_ms = one.found, one.goal.target_ms
    row: dict[str, Any] = {
        "device": one.name,
        "device_class": found.source.device_class if found else None,
        "by_table": str(one.goal.table) if one.goal.table else None,
        "shots": source.measured if (source := _few_shot(found)) else None,
        "shots_error": None if source is None or math.isnan(source.median_error) else source.median_error,
        "target_ms": target_ms,
        "tried": len(found.trials) if found else 0,
        "within_target": 0,
        "fastest_ms": None,
        "latency_ms": None,
        "verdict": None,
        "model": None,
        "failure": one.failure,
        **one.facts,
    }
    if found is None:
        return row
    fastest, chosen = found.fastest, found.chosen
    row["fastest_ms"] = found.latency_ms(fastest) if fastest else None
    row["within_target"] = sum((found.latency_ms(t) or target_ms + 1) <= target_ms for t in found.trials)
    if chosen is None:
        row["failure"] = _why_none(found)
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


def _few_shot(found: Specialisation | None) -> FewShotSource | None:
    """Return what told latencies from other devices' tables, if that was asked for."""
    return found.source if found is not None and isinstance(found.source, FewShotSource) else None


def _why_none(found: Specialisation) -> str:
    """Say why no net was chosen, and what to do."""
    target = f"{found.target_ms:.4g} ms"
    if found.fastest is None:
        last = next((trial.reason for trial in reversed(found.trials) if trial.reason), "")
        return f"none of {len(found.trials)} nets gave a figure, the last: {last}"
    finals = [ms for trial in found.finals if (ms := found.latency_ms(trial)) is not None]
    if finals:
        return (
            f"{len(found.finals)} nets kept to {target} when they were screened and none when it was measured in full, "
            f"the nearest takes {min(finals):.4g} ms: raise --target a little, or --candidates"
        )
    return (
        f"none of {len(found.trials)} nets keeps to {target}, the fastest takes {found.latency_ms(found.fastest):.4g} ms: "
        "raise --target or --candidates, or train a supernet of a space with smaller nets"
    )


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
        if row["shots"]:
            error = row["shots_error"]
            off = (
                ""
                if error is None
                else f"; each told from the others is {100 * error:.1f} % off in the median"
            )
            console.print(
                f"{row['device']}: {row['shots']} nets measured, the others told by --like{off}", style="dim"
            )
        console.print(f"{row['device']}: {row['model'] or row['failure']}")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}"
