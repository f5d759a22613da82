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
    return environment.get_template("report.html.jinja").render(
        results=results,
        best=results["best"],
        scored=scored,
        front=[results["trials"][number] for number in results["front"]],
        front_chart=Markup(_front_chart(results)),  # noqa: S704 - charts escape what they are given
        reward_chart=Markup(_reward_chart(scored)),  # noqa: S704
    )


def _front_chart(results: Mapping[str, Any]) -> str:
    front = set(results["front"])
    drawn = [r for r in results["trials"] if r["reward"] is not None and r["latency_ms"] is not None]
    best = results["best"]["number"] if results["best"] else None
    points = [
        Point(
            row["latency_ms"],
            100 * row["accuracy"],
            f"trial {row['number']}: {100 * row['accuracy']:.2f} %, {row['latency_ms']:.4g} ms "
            f"[{row['latency_low_ms']:.4g}, {row['latency_high_ms']:.4g}]",
            "dot best" if row["number"] == best else "dot on" if row["number"] in front else "dot",
            row["latency_low_ms"],
            row["latency_high_ms"],
        )
        for row in sorted(drawn, key=lambda row: row["number"] in front)
    ]
    line = sorted((row["latency_ms"], 100 * row["accuracy"]) for row in drawn if row["number"] in front)
    return scatter(points, line, "latency (ms)", "int8 validation accuracy (%)", log_x=True, steps=True)


def _reward_chart(scored: list[dict[str, Any]]) -> str:
    points = [
        Point(row["number"], row["reward"], f"trial {row['number']}: reward {row['reward']:.4f}")
        for row in scored
    ]
    best = list(accumulate((row["reward"] for row in scored), max))
    line = [(row["number"], value) for row, value in zip(scored, best, strict=True)]
    return scatter(points, line, "trial", "reward", steps=True)
