"""Where a recipe's winner lies beside nets that everybody knows, trained and measured alike.

    python -m tests.benchmarks.recipe_front fashion-mnist                      # runs the recipe first
    python -m tests.benchmarks.recipe_front fashion-mnist --results runs/fashion-mnist
    python -m tests.benchmarks.recipe_front keyword-spotting --set task.path=clips.npz --baseline DS-CNN-S
    python -m tests.benchmarks.recipe_front fashion-mnist-supernet --baseline MobileNetV2 --baseline MobileNetV3-small
    python -m tests.benchmarks.recipe_front fashion-mnist-supernet --baseline MobileNetV2 --keep nets --train-only

The baselines get the recipe's own final training, the same export, the same agent and protocol;
the winner's file is measured again between them, so that all figures are of one hour. What `--keep` names keeps
baselines that were trained, for the next run with the same final training.
"""

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from hilnas.estimators.train import CALIBRATION_EXAMPLES, int8_accuracy, to_int8
from hilnas.farm import Fidelity
from hilnas.recipe import Recipe, load_recipe
from hilnas.search.setup import make_task
from hilnas.tasks import Task
from hilnas.tasks.training import prepare, train
from hilnas.trial import Measurement
from tests.benchmarks.baselines import BASELINES
from tests.benchmarks.local_device import local_device


def run_recipe(source: str, overrides: Sequence[str], folder: Path) -> None:
    """Run the recipe as it ships."""
    sets = [argument for override in overrides for argument in ("--set", override)]
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "hilnas", "run", source, "--out", str(folder), *sets], check=True)
    print(f"{source}: {(time.monotonic() - start) / 60:.1f} minutes\n")


def baseline(name: str, task: Task, recipe: Recipe, keep: Path | None) -> tuple[bytes, float, float]:
    """Return what `train_baseline` does, or what it did when it was last asked for just this."""
    asked = {"net": name, "seed": recipe.search.seed, "torch": torch.__version__,
             **recipe.model_dump(mode="json", include={"task", "final"})}  # fmt: skip
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
    model, told = (keep / f"{digest}.tflite", keep / f"{digest}.json") if keep else (None, None)
    if model and told and told.exists():
        known = json.loads(told.read_text())
        return model.read_bytes(), known["accuracy"], known["minutes"]
    torch.manual_seed(recipe.search.seed)
    content, accuracy, minutes = train_baseline(name, BASELINES[name](task), task, recipe)
    if model and told:
        model.parent.mkdir(parents=True, exist_ok=True)
        model.write_bytes(content)
        told.write_text(json.dumps({"accuracy": accuracy, "minutes": minutes, **asked}, indent=1))
    return content, accuracy, minutes


def train_baseline(name: str, module: nn.Module, task: Task, recipe: Recipe) -> tuple[bytes, float, float]:
    """Train as the recipe's winner is; return the int8 file, its test accuracy and the minutes it took."""
    start = time.monotonic()
    size = (task.shape[1], task.shape[2])
    seed = recipe.search.seed
    train(module, task, prepare(task, task.split("train"), size), recipe.final, seed, lambda share: print(
        f"\r{name}: {100 * share:.0f} % trained", end="", flush=True))  # fmt: skip
    print()
    calibration = prepare(task, task.split("train").subset(CALIBRATION_EXAMPLES, seed), size)
    model = to_int8(module, calibration, task)
    accuracy = int8_accuracy(model, prepare(task, task.split("test"), size))
    return model, accuracy, (time.monotonic() - start) / 60


async def measure(models: dict[str, bytes], recipe: Recipe) -> dict[str, list[Measurement]]:
    """Measure each model three times, in turns."""
    found: dict[str, list[Measurement]] = {name: [] for name in models}
    async with local_device(recipe.measurement) as (measurer, files, device_class):
        for _ in range(3):
            for name, content in models.items():
                found[name].append(await measurer.measure(files.put(content), device_class, Fidelity.FULL))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--results", type=Path, help="results folder of this recipe; else it is run")
    parser.add_argument(
        "--baseline",
        action="append",
        choices=BASELINES,
        help="again for more; else MobileNetV2 0.25, plain CNN",
    )
    parser.add_argument("--keep", type=Path, help="folder of trained baselines")
    parser.add_argument("--train-only", action="store_true", help="train baselines into --keep, and no more")
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, options.set)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    names = options.baseline or ("MobileNetV2 0.25", "plain CNN")
    if options.train_only:
        task = make_task(recipe)
        for name in names:
            _, accuracy, minutes = baseline(name, task, recipe, options.keep)
            print(f"{name}: {100 * accuracy:.2f} % in {minutes:.1f} minutes")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.results or Path(temporary)
        if options.results is None:
            run_recipe(options.recipe, options.set, folder)
        result = json.loads((folder / "result.json").read_text())
        models = {"winner": (folder / "model.tflite").read_bytes()}
    best = result["best"]
    accuracies, minutes = {"winner": best["test_accuracy"]}, {"winner": best["training_s"] / 60}
    task = make_task(recipe)
    for name in names:
        models[name], accuracies[name], minutes[name] = baseline(name, task, recipe, options.keep)
    measured = asyncio.run(measure(models, recipe))
    print(
        f"\n{result['search']['name']}: {result['wall_s'] / 60:.1f} minutes, {len(result['trials'])} trials"
    )
    print(f"{'':20} {'int8 test':>10} {'latency ms, three times':>28} {'KiB':>8} {'minutes of training':>20}")
    for name, content in models.items():
        latencies = " ".join(f"{m.latency.median_ms:8.4f}" for m in measured[name] if m.latency)
        print(
            f"{name:20} {100 * accuracies[name]:9.2f}% {latencies:>28} {len(content) / 1024:8.1f} {minutes[name]:20.1f}"
        )


if __name__ == "__main__":
    main()
