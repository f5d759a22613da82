"""The same trainings on one node of a Ray cluster and on two, and on two of which one is killed in the middle.

python -m tests.benchmarks.ray_nodes [--trainings 8] [--epochs 8]; root, for a network namespace.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from hilnas.estimators.train import Train, TrainOptions
from hilnas.executors.local import LocalOptions, LocalProcesses
from hilnas.executors.ray_cluster import RayCluster, RayOptions
from hilnas.search.work import estimate_architecture
from hilnas.spaces.mbconv import MBConv
from hilnas.tasks.digits import Digits, DigitsOptions
from tests.integration.ray_lab import RayLab


async def run(executor, trainings, epochs, disturb=None):
    """Return all results and the seconds that they took; `disturb` is called when a third is done."""
    task = Digits(DigitsOptions(size=16), seed=1)
    space = MBConv(task.shape, task.classes)
    generator = np.random.default_rng(0)
    train = Train(TrainOptions(epochs=epochs))
    done = 0

    async def one(architecture):
        nonlocal done, disturb
        result, _ = await executor.run(estimate_architecture, train, architecture, space, task, 1)
        done += 1
        if disturb is not None and done >= trainings / 3:
            disturb, now = None, disturb
            now()
        return result

    try:
        warm = max(2, executor.slots)  # interpreters and torch: a search starts them once
        first = space.sample(np.random.default_rng(1))
        quick = Train(TrainOptions(epochs=1, subset=64))
        await asyncio.gather(
            *(executor.run(estimate_architecture, quick, first, space, task, 1) for _ in range(warm))
        )
        start = time.perf_counter()
        results = await asyncio.gather(*(one(space.sample(generator)) for _ in range(trainings)))
        return results, time.perf_counter() - start
    finally:
        await executor.close()


def main():
    """Print a table, a row when it is known."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trainings", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    wanted = arguments.trainings, arguments.epochs
    rows = []

    def tell(label, results, seconds):
        rows.append((results, seconds))
        differ = sum(a != b for a, b in zip(results, rows[0][0], strict=True))
        one_node = rows[min(1, len(rows) - 1)][1]
        load = os.getloadavg()[0]
        print(f"| {label} | {seconds:.1f} | {one_node / seconds:.2f}x | {differ} | {load:.1f} |", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        async def local():
            return await run(LocalProcesses(LocalOptions(workers=1), folder), *wanted)

        async def ray(disturb=None):
            return await run(RayCluster(RayOptions(address=lab.address), folder), *wanted, disturb)

        print(f"{wanted[0]} trainings of {wanted[1]} epochs")
        print("| | s | faster than one node | results that differ | load |\n|---|---|---|---|---|")
        tell("local, one worker", *asyncio.run(local()))
        lab = RayLab()
        try:
            lab.start(nodes=1)
            with lab.entered():
                tell("Ray, one node", *asyncio.run(ray()))
                lab.add(2)
                tell("Ray, two nodes", *asyncio.run(ray()))
                tell("Ray, two nodes, one killed", *asyncio.run(ray(lambda: lab.kill(2))))
        finally:
            lab.close()


if __name__ == "__main__":
    main()
