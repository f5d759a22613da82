"""`hilnas bench strategies`: strategies side by side on a table."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid

from hilnas.objectives import Objective, Quantity
from hilnas.options import OptionsError, parse_options
from hilnas.report.curves import curves
from hilnas.store.files import write_atomically
from hilnas.testing.bench import Contest, Entrant, Results, run_contest
from hilnas.testing.tabular import read_table
from hilnas.testing.virtual import FarmConditions

RewardForm = Literal["mnasnet", "hard", "absolute"]
_KINDS = {"mnasnet": "soft", "hard": "hard", "absolute": "absolute"}


def make_contest(
    table: Path,
    accuracy: str,
    costs: Sequence[str],
    arch: Sequence[str],
    form: str,
    target: float | None,
    weight: float | None,
    cost_floor: float | None,
    accuracy_floor: float | None,
    features: Sequence[str] = (),
) -> Contest:
    """Read the table and make objectives; without a target the median cost is the target."""
    if form not in _KINDS:
        raise OptionsError(f"--reward {form}: choose one of {', '.join(_KINDS)}")
    read = read_table(table, list(dict.fromkeys([accuracy, *costs, *features])), arch)
    objectives = [_objective({"quantity": Quantity.ACCURACY, "limit": accuracy_floor})]
    for cost in costs:
        column = read.columns[cost]
        if column.min() <= 0:
            raise OptionsError(f"column {cost} holds {column.min():g}: a cost is above zero")
        settings: dict[str, Any] = {
            "quantity": Quantity.LATENCY,
            "device_class": cost,
            "kind": _KINDS[form],
            "target": target if target is not None else float(np.median(column)),
            "floor": cost_floor,
        }
        if weight is not None:
            settings["slope" if form == "absolute" else "exponent"] = weight
        objectives.append(_objective(settings))
    for feature in features:
        if read.columns[feature].min() <= 0:
            raise OptionsError(
                f"column {feature} holds {read.columns[feature].min():g}: a feature is above zero"
            )
    return Contest(read, accuracy, tuple(costs), tuple(objectives), tuple(features))


def _objective(settings: dict[str, Any]) -> Objective:
    return parse_options(Objective, {k: v for k, v in settings.items() if v is not None}, "")


def parse_strategies(text: str) -> list[Entrant]:
    """Read "rl,evolution:population=20:tournament=5,tpe": names, each with settings as TOML values."""
    chosen = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, *settings = _words(entry)
        chosen.append(Entrant(entry, name, dict(_setting(entry, word) for word in settings)))
    if len({entrant.label for entrant in chosen}) < len(chosen):
        raise OptionsError(f'--strategies "{text}" names one twice')
    if not chosen:
        raise OptionsError(
            "--strategies names none: write names with commas between, such as rl,evolution,random"
        )
    return chosen


def _words(entry: str) -> list[str]:
    """Split at colons, but not within a dotted path "package.module:Class"."""
    name, *rest = entry.split(":")
    if rest and "=" not in rest[0]:
        name, rest = f"{name}:{rest[0]}", rest[1:]
    return [name, *rest]


def _setting(entry: str, word: str) -> tuple[str, Any]:
    import tomllib

    key, equals, value = word.partition("=")
    if not equals:
        raise OptionsError(f'--strategies "{entry}": write name:key=value')
    try:
        return key, tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return key, value


def whole_numbers(option: str, text: str, least: int = 1) -> list[int]:
    """Read whole numbers from `least` with commas between."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < least:
        raise OptionsError(f'{option} "{text}": write whole numbers from {least} with commas between')
    return numbers


def parse_noise(text: str | None) -> dict[str, float]:
    """Read "cost=5,accuracy=0.5": standard errors, a cost's in % of it, accuracy's in points of percent."""
    noise: dict[str, float] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        key, _, value = part.partition("=")
        names = {"cost": "cost_noise", "latency": "cost_noise", "accuracy": "accuracy_noise"}
        try:
            noise[names[key.strip()]] = float(value.strip().removesuffix("%")) / 100
        except (KeyError, ValueError):
            raise OptionsError(
                f'--noise "{text}": write cost=5,accuracy=0.5 (percent of the cost, points)'
            ) from None
    return noise


def bench_command(
    contest: Contest,
    strategies: list[Entrant],
    budgets: Sequence[int],
    seeds: int,
    conditions: FarmConditions,
    workers: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Run the contest and print what came of it."""
    if plot is not None and not plot.absolute().parent.is_dir():
        raise OptionsError(
            f"--plot {plot}: there is no folder {plot.absolute().parent}; make it, or choose another"
        )
    errors = Console(stderr=True)
    table = contest.table
    errors.print(
        f"{table.path.name}: {len(table):,} architectures of {len(table.names)} decisions "
        f"({', '.join(table.names)}); {', '.join(_words_of(o) for o in contest.objectives)}",
        highlight=False,
        markup=False,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task("searches", total=len(strategies) * seeds)
        results = run_contest(
            contest,
            strategies,
            budgets,
            range(seeds),
            conditions,
            workers,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    if plot is not None:
        names = [entrant.label for entrant in strategies]
        picture = curves(
            {name: results.curve(name).tolist() for name in names},
            "evaluations",
            "mean regret, % of the optimum",
        )
        write_atomically(plot, picture.encode())
        errors.print(f"regret over evaluations: {plot}", highlight=False, markup=False)
    if as_json:
        print(json.dumps(results.to_json()))
    else:
        _print(results)


def _words_of(objective: Objective) -> str:
    if objective.maximise:
        return str(objective.quantity)
    return f"{objective.device_class} ({objective.kind}, target {objective.target:.4g})"


def _print(results: Results) -> None:
    found = results.to_json()
    grid = Grid(
        "strategy",
        "after",
        "mean",
        "± se",
        "median",
        "p90",
        "optimum",
        "top 10",
        "front %",
        "ms/proposal",
        title="Regret, % of the optimum",
    )
    for column in grid.columns[1:]:
        column.justify = "right"
    for row in found["results"]:
        grid.add_row(
            row["strategy"],
            str(row["budget"]),
            f"{row['regret_percent_mean']:.3f}",
            f"{row['regret_percent_se']:.3f}",
            f"{row['regret_percent_median']:.3f}",
            f"{row['regret_percent_p90']:.3f}",
            f"{row['optimum_share']:.0%}",
            f"{row['top10_share']:.0%}",
            f"{row['hypervolume_percent_mean']:.2f}" if "hypervolume_percent_mean" in row else "",
            f"{1000 * row['seconds_per_proposal']:.1f}",
            end_section=row["budget"] == max(results.budgets),
        )
    console = Console()
    console.print(grid)
    for name, best in found["best"].items():
        if best is not None:
            cost = f", cost {best['cost']:.4g}" if best["cost"] is not None else ""
            console.print(
                f"{name}: row {best['index']} {best['arch']}: accuracy {best['accuracy']:.4g}{cost}, "
                f"reward {best['reward']:.5f}",
                highlight=False,
                markup=False,
            )
