"""`hilnas profile`: a model's operators one by one, and latency tables."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hilnas.cli.model_files import read_model_file
from hilnas.daemon.measure import bench
from hilnas.daemon.profile import ModelProfile, OpFigure, chosen_nets, fill_table, profile_model
from hilnas.farm import FarmOptions, MeasurementOptions
from hilnas.recipe import load_recipe
from hilnas.search.setup import make_space, make_task
from hilnas.spaces import Space
from hilnas.store.latency_table import LatencyTable, TableHead
from hilnas.trial import FIGURE_VERDICTS


@dataclass(frozen=True)
class TableWanted:
    """What `hilnas profile --space` was asked to do."""

    recipe: str | None
    changes: tuple[str, ...]
    out: Path | None
    nets: int
    """Whole nets to measure beside the parts."""
    limit: int | None
    """Parts to measure this time, at most."""
    device: str


def profile_model_command(
    file: Path, farm: FarmOptions, measurement: MeasurementOptions, device: str, as_json: bool
) -> int:
    """Measure a model and its operators, and print the share of each; return the exit code."""
    content = read_model_file(file)
    console = Console(stderr=as_json, highlight=False, markup=False)

    async def work() -> ModelProfile:
        with _progress(console) as progress:
            row = progress.add_task("starting", total=None)
            async with bench(farm, measurement, device) as place:
                progress.update(row, description=f"measuring on {place.device.name}")
                return await profile_model(
                    place,
                    content,
                    measurement.fidelity,
                    lambda total: progress.update(row, total=total),
                    lambda count: progress.advance(row, count),
                )

    found = asyncio.run(work())
    if as_json:
        print(json.dumps(_profile_data(found)))
    else:
        _print_profile(console, file, found)
    failed = [op for op in found.ops if op.measurement is not None and op.latency_ms is None]
    return 1 if failed or found.whole.verdict not in FIGURE_VERDICTS else 0


def profile_space_command(wanted: TableWanted, farm: FarmOptions, as_json: bool) -> int:
    """Fill a latency table as far as it goes, and print how well it ranks; return the exit code."""
    recipe = load_recipe(wanted.recipe, wanted.changes)
    measurement = recipe.measurement
    task = make_task(recipe)
    space = make_space(recipe, task.shape, task.classes)
    parts, nets = list(space.every_part()), chosen_nets(space, wanted.nets, recipe.search.seed)
    console = Console(stderr=as_json, highlight=False, markup=False)

    async def work() -> tuple[LatencyTable, str]:
        with _progress(console) as progress:
            row = progress.add_task("starting", total=len(parts) + len(nets))
            async with bench(farm, measurement, wanted.device) as place:
                table = _table(wanted.out, space, measurement, place.device.device_class)
                todo = [part for part in parts if part.key not in table.parts][: wanted.limit]
                progress.update(
                    row,
                    description=f"measuring on {place.device.name}",
                    completed=len(table.parts) + len(table.nets),
                )
                ended = await fill_table(
                    place,
                    space,
                    table,
                    todo,
                    nets if len(table.parts) + len(todo) >= len(parts) else [],
                    measurement.fidelity,
                    lambda count: progress.advance(row, count),
                )
                return table, ended

    table, ended = asyncio.run(work())
    if as_json:
        print(json.dumps(_table_data(table, len(parts))))
    else:
        _print_table(console, table, len(parts))
    missing = len(parts) - len(table.parts)
    if ended:
        console.print(f"Ended early: {ended}. The same command goes on from here.")
    elif missing:
        console.print(f"{missing} parts are not measured yet: the same command goes on from here.")
    return 1 if ended else 0


def _table(
    out: Path | None, space: Space, measurement: MeasurementOptions, device_class: str
) -> LatencyTable:
    path = out or Path(f"latency-{space.name}-{device_class}.jsonl")
    head = TableHead(
        space.name,
        device_class,
        measurement.runtime_asked,
        measurement.protocol(measurement.fidelity).hash,
    )
    return LatencyTable(path, head)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _profile_data(found: ModelProfile) -> dict[str, Any]:
    whole = found.whole
    return {
        "model_sha256": whole.model_sha256,
        "device": whole.device,
        "device_class": whole.device_class,
        "runtime": whole.runtime,
        "latency_ms": whole.latency.median_ms if whole.latency else None,
        "verdict": whole.verdict.value,
        "sum_ms": found.sum_ms,
        "ops": [_op_data(found, op) for op in found.ops],
    }


def _op_data(found: ModelProfile, op: OpFigure) -> dict[str, Any]:
    latency = op.measurement.latency if op.measurement else None
    return {
        "index": op.op.index,
        "name": op.op.name,
        "output_shape": list(op.op.output_shape),
        "latency_ms": latency.median_ms if latency else None,
        "low_ms": latency.low_ms if latency else None,
        "high_ms": latency.high_ms if latency else None,
        "share": found.share(op),
        "verdict": op.measurement.verdict.value if op.measurement else None,
        "reason": op.op.reason or (op.measurement.message if op.measurement else ""),
    }


def _print_profile(console: Console, file: Path, found: ModelProfile) -> None:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("op", "name", "output", "latency\nms", "95 %\ninterval", "share"):
        left = column in ("name", "output")
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    table.add_column("verdict", overflow="fold", min_width=8)
    for op in found.ops:
        table.add_row(
            str(op.op.index), op.op.name, "x".join(map(str, op.op.output_shape)), *_cells(found, op)
        )
    console.print(table)
    for title, total in _by_kind(found):
        console.print(f"{title}: {total / found.sum_ms:.1%} of the sum")
    whole = found.whole
    if whole.latency is None:
        console.print(f"{file.name} as a whole: {whole.verdict}: {whole.message}")
        return
    console.print(
        f"{file.name} as a whole takes {whole.latency.median_ms:.4g} ms ({whole.verdict}), its operators alone "
        f"{found.sum_ms:.4g} ms together: each pays for its own call, and fusion across operators is lost.\n"
        f"{whole.device} ({whole.device_class}), {whole.runtime}"
    )


def _cells(found: ModelProfile, op: OpFigure) -> list[str]:
    if op.measurement is None:
        return ["–", "–", "–", op.op.reason]
    latency = op.measurement.latency
    if latency is None:
        return ["–", "–", "–", f"{op.measurement.verdict}: {op.measurement.message}"]
    interval = f"{latency.low_ms:.3g}–{latency.high_ms:.3g}"
    return [
        f"{latency.median_ms:.3g}",
        interval,
        f"{found.share(op) or 0:.1%}",
        op.measurement.verdict.value,
    ]


def _by_kind(found: ModelProfile) -> Sequence[tuple[str, float]]:
    """Return the sum of each kind of operator, the largest first."""
    sums: dict[str, float] = {}
    for op in found.ops:
        if op.latency_ms is not None:
            sums[op.op.name] = sums.get(op.op.name, 0.0) + op.latency_ms
    return sorted(sums.items(), key=lambda pair: -pair[1])


def _table_data(table: LatencyTable, parts: int) -> dict[str, Any]:
    quality = table.quality()
    return {
        "table": str(table.path),
        **asdict(table.head),
        "parts": len(table.parts),
        "parts_of_space": parts,
        "failed": [entry.key for entry in table.parts.values() if entry.latency_ms is None],
        "nets": len(table.nets),
        "quality": asdict(quality) if quality else None,
    }


def _print_table(console: Console, table: LatencyTable, parts: int) -> None:
    console.print(
        f"{table.path}: {len(table.parts)} of {parts} parts and {len(table.nets)} whole nets of "
        f"{table.head.space} on {table.head.device_class}",
        soft_wrap=True,
    )
    failed = [entry for entry in table.parts.values() if entry.latency_ms is None]
    for entry in failed:
        console.print(f"no figure for {entry.key}: {entry.verdict}", soft_wrap=True)
    quality = table.quality()
    if quality is not None:
        console.print(
            f"Sums of parts against {quality.nets} whole nets: Kendall {quality.kendall:.3f}, Spearman "
            f"{quality.spearman:.3f}; a net takes {quality.slope:.3f} times the sum and "
            f"{quality.intercept_ms:+.4g} ms: median error {quality.median_error:.1%} "
            f"(of the plain sum {quality.median_error_of_sum:.1%})",
            soft_wrap=True,
        )
