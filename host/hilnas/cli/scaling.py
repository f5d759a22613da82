"""What `hilnas scale` does and prints."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hilnas.cli.export import read_architecture
from hilnas.cli.phases import shown
from hilnas.daemon.scale import Scaled, scale_family
from hilnas.farm import FarmOptions, MeasurementOptions
from hilnas.options import OptionsError
from hilnas.recipe import Recipe
from hilnas.search.scaling import Compound, operations
from hilnas.store.files import write_atomically
from hilnas.units import parse_quantity


def scale_command(
    file: Path,
    targets: Sequence[str],
    recipe: Recipe,
    compound: Compound,
    train: bool,
    farm: FarmOptions,
    measurement: MeasurementOptions,
    device: str,
    out: Path,
    as_json: bool,
) -> int:
    """Find the family, write a folder for each target, print the table; return the exit code."""
    try:
        targets_ms = [parse_quantity(text, "ms") for text in targets]
    except ValueError as error:
        raise OptionsError(f"--target: {error}") from None
    if min(targets_ms) <= 0:
        raise OptionsError("--target must be above 0, e.g. '4 ms'")
    if compound.factors(1.0) == (1.0, 1.0, 1.0):
        raise OptionsError("--alpha, --beta and --gamma are all 1, so nothing would grow: leave one out")
    base = read_architecture(file)
    console = Console(stderr=as_json, highlight=False, markup=False, soft_wrap=True)
    out.mkdir(parents=True, exist_ok=True)
    with shown(console) as show:
        found = scale_family(recipe, base, targets_ms, compound, train, farm, measurement, device, out, show)
    rows = [_written(one, out) for one in found]
    if as_json:
        print(json.dumps(rows))
    else:
        _print(console, rows)
    return 0 if all(row["within_target"] for row in rows) else 1


def _written(one: Scaled, out: Path) -> dict[str, Any]:
    """Write a member's model and architecture, and return what is to be told of it."""
    row: dict[str, Any] = {
        "target_ms": one.target_ms,
        "model": None,
        "latency_ms": None,
        "verdict": None,
        "within_target": False,
    }
    if one.member is None or one.measurement is None:
        return row
    folder = out / f"{one.target_ms:g}ms"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "model.tflite", one.model)
    net = one.member.architecture.to_json()
    settings = one.member.space.settings
    write_atomically(
        folder / "architecture.json", json.dumps({**net, "settings": settings}, indent=1).encode()
    )
    latency = one.measurement.latency
    row.update(
        model=str(folder / "model.tflite"),
        phi=one.member.phi,
        macs=operations(one.member),
        screened_ms=one.member.latency_ms,
        latency_ms=latency.median_ms if latency else None,
        verdict=one.measurement.verdict.value,
        within_target=latency is not None and latency.median_ms <= one.target_ms,
        failure=one.measurement.message if latency is None else "",
        device=one.measurement.device,
        input=list(one.member.space.input_shape(one.member.architecture)),
        architecture=net,
        **(one.accuracies or {}),
    )
    return row


def _print(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="A family", box=SIMPLE_HEAD)
    for heading in ("target ms", "phi", "input", "MMACs", "latency ms", "validation %", "test %"):
        table.add_column(heading, justify="right")
    for row in rows:
        if row["model"] is None:
            table.add_row(f"{row['target_ms']:.4g}", *["–"] * 6)
            continue
        doubt = "~" if row["verdict"] == "UNSTABLE" else ""
        latency = "–" if row["latency_ms"] is None else f"{doubt}{row['latency_ms']:.4g}"
        shares = [row.get(f"{name}_accuracy") for name in ("validation", "test")]
        table.add_row(
            f"{row['target_ms']:.4g}",
            f"{row['phi']:.2f}",
            "x".join(map(str, row["input"][1:])),
            f"{row['macs'] / 1e6:.3g}",
            latency,
            *("–" if share is None else f"{100 * share:.2f}" for share in shares),
        )
    console.print(table)
    for row in rows:
        if row["model"] is None:
            console.print(
                f"{row['target_ms']:.4g} ms: not even the smallest net of the family keeps to it: raise --target, or "
                "take a smaller base"
            )
        elif row["latency_ms"] is None:
            console.print(
                f"{row['target_ms']:.4g} ms: {row['model']} gave no figure: {row['verdict']} {row['failure']}"
            )
        else:
            above = "" if row["within_target"] else ", above the target when it was measured in full"
            console.print(f"{row['target_ms']:.4g} ms: {row['model']}{above}")
