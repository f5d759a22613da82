"""`hilnas run`: the folder, Ctrl-C, progress, and the table at the end."""

import asyncio
import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hilnas.cli.progress import Progress
from hilnas.daemon.place import Place
from hilnas.daemon.run import run_search
from hilnas.options import OptionsError
from hilnas.recipe import load_recipe
from hilnas.store import RECORD_FILE
from hilnas.store.lock import in_use

RUNS = Path("runs")
"""Where results go that are not given a folder."""
_STOPPING = (signal.SIGINT, signal.SIGTERM)


def run_command(
    source: str | None,
    out: Path | None,
    overrides: Sequence[str],
    seed: int | None,
    resume: bool,
    as_json: bool,
) -> int:
    """Run a search; return the exit code."""
    recipe = load_recipe(source, overrides, seed)
    folder = out or _default_folder(recipe.search.name, resume)
    if resume and not (folder / RECORD_FILE).exists():
        raise OptionsError(f"there is no search in {folder} to resume: leave --resume out, or correct --out")
    progress = Progress(Console(stderr=as_json))

    async def main() -> dict[str, Any] | None:
        task = asyncio.ensure_future(
            run_search(recipe, Place(folder), resume, progress.show, progress.listen)
        )
        loop = asyncio.get_running_loop()

        def stop() -> None:
            progress.say("Stopping. Once more ends it at once; --resume goes on from there, too.")
            for number in _STOPPING:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)
            task.cancel()

        for number in _STOPPING:
            loop.add_signal_handler(number, stop)
        try:
            return await task
        except asyncio.CancelledError:
            return None

    with progress:
        results = asyncio.run(main())
    if results is None:
        Console(stderr=True).print(
            f"Stopped. What was finished is in {folder}; the same command with --resume goes on"
            + ("." if out else f" (or with --out {folder} --resume)."),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        return 130
    print_results(results, folder, as_json)
    return 0 if results["best"] is not None else 1


def print_results(results: Mapping[str, Any], folder: Path, as_json: bool) -> None:
    """Print results as JSON, or the front as a table and where everything lies."""
    if as_json:
        print(json.dumps(results))
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    best = results["best"]
    if results["front"]:
        _print_front(console, results)
    for warning in results["warnings"]:
        console.print(f"Warning: {warning}", style="yellow")
    if best is not None and "test_accuracy" in best:
        console.print(
            f"Winner: trial {best['number']}, retrained: int8 test accuracy {100 * best['test_accuracy']:.2f} % "
            f"(float {100 * best['test_float_accuracy']:.2f} %)" + _latencies(best)
        )
    busy = results["device_busy_fraction"]
    console.print(
        f"{results['search']['status'].capitalize()} after {results['wall_s']:.0f} s"
        + (f", device busy {100 * busy:.0f} % of it" if busy is not None else "")
    )
    console.print(f"Results: {folder}/result.json, report.html" + (", model.tflite" if best else ""))


def _print_front(console: Console, results: Mapping[str, Any]) -> None:
    """Print a row for each trial of the front and each class of device."""
    rows = [results["trials"][number] for number in results["front"]]
    several = any(len(row["measurements"]) > 1 for row in rows)
    title = f"Pareto front of {results['search']['name']}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("trial", justify="right")
    if several:
        table.add_column("device class", overflow="fold")
    for column in (
        "int8\nacc. %",
        "latency\nms",
        "95 %\ninterval",
        "memory\nKiB",
        "model\nKiB",
        "MMACs",
        "reward",
    ):
        table.add_column(column, justify="right", min_width=13 if "interval" in column else None)
    for row in rows:
        best = results["best"] is not None and row["number"] == results["best"]["number"]
        own = [f"{100 * row['accuracy']:.2f}", _short(row["model_bytes"] / 1024), _short(row["macs"] / 1e6)]
        own.append(f"{row['reward']:.4f}")
        for place, measurement in enumerate(row["measurements"] or [None]):
            number, accuracy, *rest = [str(row["number"]), *own] if place == 0 else [""] * 5
            named = [measurement["device_class"] if measurement else ""] if several else []
            table.add_row(
                number, *named, accuracy, *_figures(measurement), *rest, style="bold" if best else None
            )
    console.print(table, soft_wrap=False)
    if any(m["verdict"] == "UNSTABLE" for row in rows for m in row["measurements"]):
        console.print("~ UNSTABLE: a rule of the protocol was broken; result.json says which")


def _figures(measurement: Mapping[str, Any] | None) -> list[str]:
    """Return latency, its interval and peak memory as cells."""
    if measurement is None or measurement["latency_ms"] is None:
        return ["–", "–", "–"]
    mark = "~" if measurement["verdict"] == "UNSTABLE" else ""
    memory = measurement["peak_memory_kib"]
    return [
        mark + _short(measurement["latency_ms"]),
        f"{_short(measurement['latency_low_ms'])}–{_short(measurement['latency_high_ms'])}",
        "–" if memory is None else str(memory),
    ]


def _short(value: float) -> str:
    return f"{value:.3g}"


def _latencies(row: Mapping[str, Any]) -> str:
    return "".join(
        f", {m['latency_ms']:.4g} ms on {m['device_class']}"
        for m in row["measurements"]
        if m["latency_ms"] is not None
    )


def _default_folder(name: str, resume: bool) -> Path:
    """Return runs/NAME, or the next free runs/NAME-2 …; with `resume`, the one that was used last."""
    numbered = [RUNS / name, *(RUNS / f"{name}-{number}" for number in range(2, 10_000))]
    taken = [folder for folder in numbered if (folder / RECORD_FILE).exists()]
    if not resume:
        return next(folder for folder in numbered if folder not in taken and not in_use(folder))
    if not taken:
        raise OptionsError(
            f"there is no search in {RUNS / name} to resume: leave --resume out, or give --out"
        )
    return max(taken, key=lambda folder: (folder / RECORD_FILE).stat().st_mtime)
