"""What a local worker's start costs: forked from a template, and as an interpreter of its own.

python -m tests.benchmarks.worker_start [--rounds 3]; the two in turns, the median of each figure.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from hilnas.estimators.train import Train, TrainOptions
from hilnas.executors import WorkerDiedError
from hilnas.executors.local import LocalOptions, LocalProcesses
from hilnas.search.work import estimate_architecture, export_provisional
from hilnas.spaces.mbconv import MBConv
from hilnas.tasks.digits import Digits, DigitsOptions
from hilnas.testing.executors import die, sleep

FIGURES = ("first export", "first training", "a second worker's export", "three deaths", "all, CPU seconds")


async def measure(folder, **options):
    """Return seconds, in the order of FIGURES."""
    task = Digits(DigitsOptions(size=16), seed=1)
    space = MBConv(task.shape, task.classes)
    architecture = space.sample(np.random.default_rng(0))
    export = (export_provisional, architecture, space, task)
    training = (
        estimate_architecture,
        Train(TrainOptions(epochs=1, subset=64)),
        architecture,
        space,
        task,
        1,
    )
    before, start, marks = os.times(), time.perf_counter(), []
    executor = LocalProcesses(LocalOptions(workers=2, retries=2, **options), folder)
    try:
        for work in (export, training):
            await executor.run(*work)
            marks.append(time.perf_counter())
        busy = asyncio.ensure_future(executor.run(sleep, 3600.0))
        await asyncio.sleep(0)
        await executor.run(*export)
        marks.append(time.perf_counter())
        try:
            await executor.run(die)
        except WorkerDiedError:
            marks.append(time.perf_counter())
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
    finally:
        await executor.close()
    after = os.times()
    used = sum(after[k] - before[k] for k in range(4))
    return [b - a for a, b in zip([start, *marks], marks, strict=False)] + [used]


def main():
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    forked, fresh = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            forked.append(asyncio.run(measure(Path(folder))))
            fresh.append(asyncio.run(measure(Path(folder), preload=[])))
    print(f"| load {os.getloadavg()[0]:.1f} | forked s | interpreters s |\n|---|---|---|")
    for name, *both in zip(FIGURES, zip(*forked, strict=True), zip(*fresh, strict=True), strict=True):
        print(f"| {name} | " + " | ".join(f"{statistics.median(each):.2f}" for each in both) + " |")


if __name__ == "__main__":
    main()
