"""What an answer costs: a supernet's, a short training's, a full training's, in turns on the same nets, one thread.

    python -m tests.benchmarks.estimate_costs tests/benchmarks/studies/fashion-mnist.toml --supernet fashion.pt

The supernet is a file of `hilnas supernet`, or the folder of a search or a study that has trained one; its own
training is not counted: it is done once, however many nets are asked about.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from hilnas.daemon.estimate import make_estimator
from hilnas.daemon.specialise import read_supernet
from hilnas.estimators.supernet import Supernet, SupernetOptions
from hilnas.recipe import load_recipe
from hilnas.search.setup import make_space, make_task
from hilnas.search.work import estimate_architecture, train_in_full

ANSWERS = 3
"""Times that a quick estimator is asked for each net."""


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("--supernet", type=Path, required=True)
    parser.add_argument(
        "--short", default="train:epochs=1", help="the short training, as in hilnas estimate -e"
    )
    parser.add_argument("--nets", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load_recipe(options.recipe, options.set)
    task = make_task(recipe)
    space = make_space(recipe, task.shape, task.classes)
    seed = recipe.search.seed
    supernet = Supernet(SupernetOptions(), read_supernet(options.supernet))
    short = make_estimator(options.short, recipe)
    generator = np.random.default_rng(seed)
    nets = [space.sample(generator) for _ in range(options.nets)]
    estimate_architecture(supernet, nets[0], space, task, seed)  # the file is read once a process
    found: dict[str, list[float]] = {"supernet": [], options.short: [], "full": []}
    for number, net in enumerate(nets):
        for _ in range(ANSWERS):
            found["supernet"].append(
                seconds(lambda net=net: estimate_architecture(supernet, net, space, task, seed))
            )
        found[options.short].append(
            seconds(lambda net=net: estimate_architecture(short, net, space, task, seed))
        )
        found["full"].append(seconds(lambda net=net: train_in_full(net, space, task, recipe.final, seed)))
        print(
            f"net {number + 1} of {len(nets)}: " + ", ".join(f"{k} {v[-1]:.2f} s" for k, v in found.items())
        )
    own = median(found["supernet"])
    print(f"\n{'':24} {'s, median':>10} {'times the supernet':>20}")
    for name, times in found.items():
        print(f"{name:24} {median(times):10.2f} {median(times) / own:20.1f}")


if __name__ == "__main__":
    main()
