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
from hilnas.daemon.run import run_search
from hilnas.options import OptionsError
from hilnas.recipe import load_recipe
from hilnas.store import RECORD_FILE

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
    progress = Progress(Console(stderr=as_json))

    async def main() -> dict[str, Any] | None:
        task = asyncio.ensure_future(run_search(recipe, folder, resume, progress.show, progress.listen))
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
    return 0


def print_results(results: Mapping[str, Any], folder: Path, as_json: bool) -> None:
    """Print results as JSON, or the front as a table and where everything lies."""
    if as_json:
        print(json.dumps(results))
        return
    console = Console()
    best = results["best"]
    title = f"Pareto front of {results['search']['name']}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in (
        "trial",
        "int8\nacc. %",
        "latency\nms",
        "95 %\ninterval",
        "memory\nKiB",
        "model\nKiB",
        "MMACs",
        "reward",
    ):
        table.add_column(column, justify="right", min_width=13 if "interval" in column else None)
    for number in results["front"]:
        row = results["trials"][number]
        style = "bold" if best and number == best["number"] else None
        table.add_row(*_cells(row), style=style)
    console.print(table)
    if best is None:
        console.print("No trial was scored.", markup=False)
    elif "test_accuracy" in best:
        console.print(
            f"Winner: trial {best['number']}, retrained: int8 test accuracy {100 * best['test_accuracy']:.2f} % "
            f"(float {100 * best['test_float_accuracy']:.2f} %)" + _latency(best),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    busy = results["device_busy_fraction"]
    console.print(
        f"{results['search']['status'].capitalize()} after {results['wall_s']:.0f} s"
        + (f", device busy {100 * busy:.0f} % of it" if busy is not None else ""),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print(
        f"Results: {folder}/result.json, report.html" + (", model.tflite" if best else ""),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    def short(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}g}"

    interval = (
        "–"
        if row["latency_ms"] is None
        else f"{short(row['latency_low_ms'], 3)}–{short(row['latency_high_ms'], 3)}"
    )
    memory = row["peak_memory_kib"]
    return [
        str(row["number"]),
        f"{100 * row['accuracy']:.2f}",
        short(row["latency_ms"], 3),
        interval,
        "–" if memory is None else str(memory),
        short(row["model_bytes"] / 1024, 3),
        short(row["macs"] / 1e6, 3),
        f"{row['reward']:.4f}",
    ]


def _latency(row: Mapping[str, Any]) -> str:
    return (
        ""
        if row["latency_ms"] is None
        else f", {row['latency_ms']:.4g} ms on {row['measurements'][0]['device_class']}"
    )


def _default_folder(name: str, resume: bool) -> Path:
    """Return runs/NAME, or the next free runs/NAME-2 …; with `resume`, the one that was used last."""
    numbered = [RUNS / name, *(RUNS / f"{name}-{number}" for number in range(2, 10_000))]
    taken = [folder for folder in numbered if (folder / RECORD_FILE).exists()]
    if not resume:
        return next(folder for folder in numbered if folder not in taken)
    if not taken:
        raise OptionsError(
            f"there is no search in {RUNS / name} to resume: leave --resume out, or give --out"
        )
    return max(taken, key=lambda folder: (folder / RECORD_FILE).stat().st_mtime)
