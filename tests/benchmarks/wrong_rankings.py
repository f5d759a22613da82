"""Two models that differ by 10 %, beside a neighbour that loads the machine in bursts: who ranks them wrongly?

    python -m tests.benchmarks.wrong_rankings --pairs 60

The two nets are the same but for their width, chosen so that the larger one takes about 10 % longer; the true
ratio is measured first, with the machine quiet, and printed. Then a neighbour works wherever the kernel lets it, in
bursts whose lengths and pauses are drawn anew, and pairs are measured, in an order drawn anew:
- naive: the mean of 50 runs after 5 of warm-up, in a fresh process on the same processor;
- ours: a SCREEN measurement of each as it ships, and a FULL one. What is not TRUSTED makes no ranking.
A ranking is wrong when the smaller net comes out slower: of the two that were taken together, and of every figure of
one with every figure of the other, for in a search any two are compared. Asked for: ours at most a tenth of the naive share.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from torch import nn

from hilnas.daemon.measure import Bench, bench
from hilnas.export import export_int8
from hilnas.farm import FarmOptions, Fidelity, MeasurementOptions
from hilnas.measuring import compare
from hilnas.trial import Verdict

NAIVE = """
import os, sys, time
os.sched_setaffinity(0, [int(sys.argv[2])])
import numpy as np
from ai_edge_litert.interpreter import Interpreter
model = Interpreter(model_path=sys.argv[1], num_threads=1)
model.allocate_tensors()
for _ in range(5):
    model.invoke()
start = time.perf_counter()
for _ in range(50):
    model.invoke()
print((time.perf_counter() - start) / 50 * 1000)
"""
SMALL, LARGE = 40, 44


def net(width: int) -> bytes:
    """A net whose time is that of one wide convolution."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6(), nn.Conv2d(32, width, 3, padding=1), nn.ReLU6()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)]
    return export_int8(nn.Sequential(*layers, *head).eval(), torch.randn(8, 3, 96, 96))


def neighbour(seed: int) -> None:
    """Work in bursts of 0.05 to 2 s with pauses of 0.1 to 4 s, for ever."""
    rng = random.Random(seed)
    while True:
        until = time.monotonic() + rng.uniform(0.05, 2)
        while time.monotonic() < until:
            sum(range(10_000))
        time.sleep(rng.uniform(0.1, 4))


def naive_ms(path: Path, cpu: int) -> float:
    """The mean of 50 runs, in ms."""
    command = [sys.executable, "-c", NAIVE, str(path), str(cpu)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


async def ours(place: Bench, content: bytes, fidelity: Fidelity) -> float | None:
    """One measurement as it ships, in ms; None where it is not TRUSTED."""
    (found,) = await place.measure([content], fidelity)
    trusted = found.verdict is Verdict.TRUSTED and found.latency is not None
    return found.latency.median_ms if trusted else None


async def contest(pairs: int, full_pairs: int, neighbours: int, seed: int) -> None:
    """Measure pairs and print the table."""
    cpus = sorted(os.sched_getaffinity(0))
    rng, cpu = random.Random(seed), cpus[-1]
    contents = [net(SMALL), net(LARGE)]
    wrong: Counter[str] = Counter()
    ranked: Counter[str] = Counter()
    trusted: dict[str, tuple[list[float], list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.tflite" for number in range(2)]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        async with bench(FarmOptions(local_cpus=[cpu]), MeasurementOptions()) as place:
            digests = [place.models.put(content) for content in contents]
            facts = place.device
            true = await compare(place.measurer, *digests, facts.device_class, Fidelity.FULL, facts.name)
            print(
                f"true ratio {true.ratio:.3f} [{true.low:.3f}, {true.high:.3f}], the machine quiet",
                flush=True,
            )
            crowd = [
                multiprocessing.Process(target=neighbour, args=(seed + number,), daemon=True)
                for number in range(neighbours)
            ]
            for process in crowd:
                process.start()
            turns = ["naive"] * pairs + ["SCREEN"] * pairs + ["FULL"] * full_pairs
            rng.shuffle(turns)
            try:
                for number, tool in enumerate(turns, 1):
                    order = rng.sample((0, 1), 2)
                    figures: dict[int, float | None] = {}
                    for side in order:
                        if tool == "naive":
                            figures[side] = await asyncio.to_thread(naive_ms, paths[side], cpu)
                        else:
                            figures[side] = await ours(place, contents[side], Fidelity(tool.lower()))
                    for side, found in figures.items():
                        if found is not None:
                            trusted.setdefault(tool, ([], []))[side].append(found)
                    small, large = figures[0], figures[1]
                    if small is not None and large is not None:
                        ranked[tool] += 1
                        wrong[tool] += small >= large
                    print(f"{number}/{len(turns)} {tool} {small} {large}", file=sys.stderr, flush=True)
            finally:
                for process in crowd:
                    process.kill()
    print(
        "| | pairs | both TRUSTED | wrong, of pairs taken together | wrong, each of one against each of the other |"
    )
    print("|---|---|---|---|---|")
    for tool, count in (("naive", pairs), ("SCREEN", pairs), ("FULL", full_pairs)):
        share = f"{wrong[tool] / ranked[tool]:.1%}" if ranked[tool] else "–"
        small_ms, large_ms = trusted.get(tool, ([], []))
        crossed = [one >= other for one in small_ms for other in large_ms]
        across = f"{sum(crossed) / len(crossed):.2%} of {len(crossed)}" if crossed else "–"
        print(f"| {tool} | {count} | {ranked[tool] if tool != 'naive' else '–'} | {share} | {across} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--full-pairs", type=int, default=12)
    parser.add_argument("--neighbours", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(contest(options.pairs, options.full_pairs, options.neighbours, options.seed))
