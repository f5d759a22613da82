"""Does a trained candidate keep its accuracy in int8? Validation accuracy of the int8 file less the float module's.

python -m tests.benchmarks.int8_accuracy                          # trains 12 candidates of each task
python -m tests.benchmarks.int8_accuracy --results runs/quickstart runs/fashion-mnist
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hilnas.plugins import Axis, find
from hilnas.recipe import load_recipe
from hilnas.search.setup import make_space, make_task


def trained(source: str, count: int) -> list[float]:
    """Points of int8 less float of `count` random candidates, by the recipe's own estimator."""
    recipe = load_recipe(source)
    task = make_task(recipe)
    space = make_space(recipe, task.shape, task.classes)
    estimator = find(Axis.ESTIMATOR, recipe.estimator.name)(recipe.options(Axis.ESTIMATOR))
    generator = np.random.default_rng(0)
    points = []
    for _ in range(count):
        estimate = estimator.estimate(space.sample(generator), space, task, 0).estimate
        points.append(100 * (estimate.accuracy - estimate.float_accuracy))
    return points


def recorded(folder: Path) -> list[float]:
    """The same of every scored trial of a search."""
    trials = json.loads((folder / "result.json").read_text())["trials"]
    return [100 * (t["accuracy"] - t["float_accuracy"]) for t in trials if t["float_accuracy"] is not None]


def show(name: str, points: Sequence[float]) -> None:
    """Print a row."""
    low, middle, high = np.percentile(points, [5, 50, 95])
    worst = max(points, key=abs)
    print(f"{name:24} {len(points):4} {middle:+8.2f} {low:+8.2f} {high:+8.2f} {worst:+8.2f}")


def main() -> None:
    """Print a row for each task or folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, nargs="+", default=[])
    parser.add_argument("--count", type=int, default=12)
    options = parser.parse_args()
    print("int8 less float32 validation accuracy, in points")
    print(f"{'':24} {'nets':>4} {'median':>8} {'5 %':>8} {'95 %':>8} {'worst':>8}")
    for folder in options.results:
        show(str(folder.name), recorded(folder))
    if not options.results:
        for source in ("quickstart", "fashion-mnist"):
            show(source, trained(source, options.count))


if __name__ == "__main__":
    main()
