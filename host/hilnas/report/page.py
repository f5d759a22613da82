"""report.html: one self-contained page, no script, no request."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hilnas.report.charts import Point, scatter


def page(results: Mapping[str, Any]) -> str:
    """Return the page of a search's results."""
    environment = Environment(
        loader=PackageLoader("hilnas.report"), undefined=StrictUndefined, autoescape=True, trim_blocks=True
    )
    environment.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.2f} %"
    environment.filters["short"] = lambda value: "–" if value is None else f"{value:.4g}"
    scored = [row for row in results["trials"] if row["reward"] is not None]
    classes = dict.fromkeys(o["device_class"] for o in results["objectives"] if o["device_class"])
    return environment.get_template("report.html.jinja").render(
        results=results,
        best=results["best"],
        scored=scored,
        front=[results["trials"][number] for number in results["front"]],
        front_charts=[
            (name, Markup(_front_chart(results, name, line=len(classes) == 1)))  # nosec B704 # noqa: S704 - escaped there
            for name in classes
        ],
        reward_chart=Markup(_reward_chart(scored)),  # nosec B704 # noqa: S704
    )


def _front_chart(results: Mapping[str, Any], device_class: str, line: bool) -> str:
    """Accuracy against the latency on one class; with several, the front is no line in this plane."""
    front = set(results["front"])
    drawn = [
        (row, measured)
        for row in results["trials"]
        for measured in row["measurements"]
        if row["reward"] is not None
        and measured["device_class"] == device_class
        and measured["latency_ms"] is not None
    ]
    best = results["best"]["number"] if results["best"] else None
    points = [
        Point(
            measured["latency_ms"],
            100 * row["accuracy"],
            f"trial {row['number']}: {100 * row['accuracy']:.2f} %, {measured['latency_ms']:.4g} ms "
            f"[{measured['latency_low_ms']:.4g}, {measured['latency_high_ms']:.4g}] {measured['verdict']}",
            "dot best" if row["number"] == best else "dot on" if row["number"] in front else "dot",
            measured["latency_low_ms"],
            measured["latency_high_ms"],
        )
        for row, measured in sorted(drawn, key=lambda pair: pair[0]["number"] in front)
    ]
    steps = [(m["latency_ms"], 100 * row["accuracy"]) for row, m in drawn if line and row["number"] in front]
    return scatter(
        points,
        sorted(steps),
        f"latency on {device_class} (ms)",
        "int8 validation accuracy (%)",
        log_x=True,
        steps=True,
    )


def _reward_chart(scored: list[dict[str, Any]]) -> str:
    points = [
        Point(row["number"], row["reward"], f"trial {row['number']}: reward {row['reward']:.4f}")
        for row in scored
    ]
    best = list(accumulate((row["reward"] for row in scored), max))
    line = [(row["number"], value) for row, value in zip(scored, best, strict=True)]
    return scatter(points, line, "trial", "reward", steps=True)
