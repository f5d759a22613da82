"""Where a recipe's winner lies beside MobileNetV2 0.25 and a plain three-layer CNN, trained and measured alike.

    python -m tests.benchmarks.recipe_front fashion-mnist                      # runs the recipe first
    python -m tests.benchmarks.recipe_front fashion-mnist --results runs/fashion-mnist
    python -m tests.benchmarks.recipe_front keyword-spotting --set task.path=clips.npz

The two baselines get the recipe's own final training, the same export, the same agent and protocol;
the winner's file is measured again between them, so that all figures are of one hour.
"""

import argparse
import asyncio
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
from hilnas.spaces.mbconv_module import MBConvNet
from hilnas.spaces.mbconv_plan import BlockPlan, NetPlan
from hilnas.tasks import Task
from hilnas.tasks.training import prepare, train
from hilnas.trial import Measurement
from tests.benchmarks.local_device import local_device


def mobilenet_v2_025(task: Task) -> nn.Module:
    """MobileNetV2 at width 0.25 (Sandler et al. 2018, table 2); small pictures keep the first strides of 1."""
    table = [
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]
    blocks = [
        BlockPlan(
            f"{width}.{number}",
            max(8, width // 4),
            stride if number == 0 else 1,
            3,
            expansion,
            False,
            "relu6",
        )
        for expansion, width, repeats, stride in table
        for number in range(repeats)
    ]
    return MBConvNet(NetPlan(task.shape, task.classes, 8, 2, tuple(blocks), 1280, 0.1))


def plain_cnn(task: Task) -> nn.Module:
    """Three 3x3 convolutions of 32, 64 and 128 channels with batch-norm, ReLU and pooling."""
    layers: list[nn.Module] = []
    channels = task.shape[0]
    for width in (32, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2) if width < 128 else nn.AdaptiveAvgPool2d(1)]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.1), nn.Linear(channels, task.classes))


def run_recipe(source: str, overrides: Sequence[str], folder: Path) -> None:
    """Run the recipe as it ships."""
    sets = [argument for override in overrides for argument in ("--set", override)]
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "hilnas", "run", source, "--out", str(folder), *sets], check=True)
    print(f"{source}: {(time.monotonic() - start) / 60:.1f} minutes\n")


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
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, options.set)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.results or Path(temporary)
        if options.results is None:
            run_recipe(options.recipe, options.set, folder)
        result = json.loads((folder / "result.json").read_text())
        models = {"winner": (folder / "model.tflite").read_bytes()}
    best = result["best"]
    accuracies, minutes = {"winner": best["test_accuracy"]}, {"winner": best["training_s"] / 60}
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    task = make_task(recipe)
    for name, build in (("MobileNetV2 0.25", mobilenet_v2_025), ("plain CNN", plain_cnn)):
        torch.manual_seed(recipe.search.seed)
        models[name], accuracies[name], minutes[name] = train_baseline(name, build(task), task, recipe)
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
