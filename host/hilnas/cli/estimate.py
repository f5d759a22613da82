"""`hilnas estimate`: progress, and the table of estimators."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hilnas.cli.phases import shown
from hilnas.daemon.estimate import Wanted, labels_known, study_estimators
from hilnas.recipe import load_recipe
from hilnas.report.study import study_results, write_study

_WIDTH = 120
"""Columns of the table in a file or a pipe: labels of estimators are long."""


def estimate_command(
    source: str | None,
    out: Path | None,
    wanted: Wanted,
    top: int,
    overrides: list[str],
    seed: int | None,
    as_json: bool,
) -> int:
    """Fill the study, write its files, print its table; return the exit code."""
    recipe = load_recipe(source, overrides, seed)
    labels = wanted.estimators or (recipe.estimator.name,)
    folder = out or Path("estimates") / recipe.search.name
    console = Console(stderr=as_json, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDTH
    with shown(console) as show:
        findings = study_estimators(
            recipe, folder, Wanted(tuple(labels), wanted.architectures, wanted.repeats), show
        )
    results = study_results(findings, labels_known(findings), top)
    write_study(folder, results, recipe.search.name)
    if as_json:
        print(json.dumps(results))
    else:
        _print(console, results, folder)
    return 0


def _print(console: Console, results: Mapping[str, Any], folder: Path) -> None:
    full = results["full"]
    table = Table(
        title=f"{full['trained']} architectures trained in full ({_short(full['seconds'])} s each)",
        box=SIMPLE_HEAD,
    )
    table.add_column("estimator")
    for heading in ("Kendall τ", "95 %", "Spearman", "regret", "s each", "cheaper", "s once"):
        table.add_column(heading, justify="right")
    for row in sorted(
        results["estimators"], key=lambda row: -2 if row["kendall"] is None else row["kendall"], reverse=True
    ):
        cheaper, regret = row["cheaper_than_full"], row["regret"]
        table.add_row(
            row["estimator"],
            _short(row["kendall"]),
            f"{_short(row['kendall_low'])} to {_short(row['kendall_high'])}",
            _short(row["spearman"]),
            "–" if regret is None else f"{100 * regret:.2f}",
            _short(row["seconds"]),
            "–" if cheaper is None else f"{cheaper:.0f} x",
            _short(row["preparation_seconds"]),
        )
    console.print(table)
    top = results["estimators"][0]["top"] if results["estimators"] else 0
    console.print(
        f"regret: points of accuracy that the truly best of an estimator's best {top} lacks of the best of all",
        style="dim",
    )
    if full["repeats"]:
        console.print(
            f"Two full trainings with seeds of their own agree with Kendall τ {_short(full['repeats']['kendall'])}"
        )
    for name, row in [("full training", full), *((row["estimator"], row) for row in results["estimators"])]:
        if row["failed"]:
            console.print(f"{name} gave no answer for {row['failed']}, the last: {row['last_failure']}")
    console.print(f"Results: {folder}/estimate.json, estimate.html")


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
