"""estimate.json and estimate.html: how well estimators rank, and what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hilnas.report.charts import Point, scatter
from hilnas.search.study import FULL, Findings


def study_results(findings: Findings, labels: Sequence[str], top: int) -> dict[str, Any]:
    """Return everything a study holds, for scripts and for `study_page`; JSON."""
    ceiling, full_s = findings.ceiling(top), findings.full_cost_s()
    return {
        "full": {
            "trained": len({number for number, _ in findings.truths}),
            "seconds": full_s,
            "repeats": asdict(ceiling) if ceiling else None,
            **_failures(findings, FULL),
        },
        "estimators": [_estimator(findings, label, top, full_s) for label in labels],
        "architectures": [
            {
                "architecture": architecture.to_json(),
                "full": findings.truth(number),
                "estimates": {
                    label: answer.estimate.accuracy
                    for label in labels
                    if (answer := findings.answers.get((label, number))) is not None
                },
            }
            for number, architecture in enumerate(findings.architectures)
        ],
    }


def _estimator(findings: Findings, label: str, top: int, full_s: float | None) -> dict[str, Any]:
    cost_s = findings.cost_s(label)
    return {
        "estimator": label,
        **asdict(findings.quality(label, top)),
        "seconds": cost_s,
        "preparation_seconds": findings.prepared[label][1] if label in findings.prepared else 0.0,
        "cheaper_than_full": full_s / cost_s if full_s and cost_s else None,
        **_failures(findings, label),
    }


def _failures(findings: Findings, label: str) -> dict[str, Any]:
    reasons = [reason for (name, _), reason in findings.failures.items() if name == label]
    return {"failed": len(reasons), "last_failure": reasons[-1] if reasons else ""}


def study_page(results: Mapping[str, Any], name: str) -> str:
    """Return a page of its own: a table, and each estimate against the truth."""
    environment = Environment(
        loader=PackageLoader("hilnas.report"), undefined=StrictUndefined, autoescape=True, trim_blocks=True
    )
    environment.filters["short"] = lambda value: "–" if value is None else f"{value:.3g}"
    charts = [
        (row, Markup(_chart(results, row["estimator"])))  # nosec B704 # noqa: S704 - escaped there
        for row in results["estimators"]
    ]
    template = environment.get_template("estimate.html.jinja")
    return template.render(results=results, name=name, charts=charts)


def _chart(results: Mapping[str, Any], label: str) -> str:
    points = [
        Point(100 * row["estimates"][label], 100 * row["full"], f"architecture {number}")
        for number, row in enumerate(results["architectures"])
        if row["full"] is not None and label in row["estimates"]
    ]
    return scatter(points, (), f"{label} (%)", "trained in full (%)")


def write_study(folder: Path, results: Mapping[str, Any], name: str) -> None:
    """Write both files into a folder."""
    import json

    from hilnas.store.files import write_atomically

    write_atomically(folder / "estimate.json", json.dumps(results, indent=1).encode())
    write_atomically(folder / "estimate.html", study_page(results, name).encode())
