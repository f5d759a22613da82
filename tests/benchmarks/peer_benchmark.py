"""`hilnas measure` against `litert-benchmark`: do their medians agree, and which repeats itself better?

    python -m tests.benchmarks.peer_benchmark --repeats 8 [--fidelity screen]

Five networks, one thread, one processor for both. In each repeat the networks come in an order drawn anew, and
for each, one right after the other in an order drawn anew: ours as it ships (measured again where it is in
doubt), the peer as it comes (its default number of runs), and the peer for as many runs as ours timed. The peer
prints its median to 0.01 ms; here it is taken unrounded from its own run.

The peer times whatever speed the processor has, ours only its full one, so two ratios are told: of the fastest tenth
of all runs of each (the 10th percentile, pooled over the repeats), which is the processor's full speed for both; and
of the medians pair by pair, which is like with like on a machine whose speed is steady. Spread: (highest - lowest) /
median of a tool's repeats, of ours also over its TRUSTED figures alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
import torch

from hilnas.daemon.measure import Bench, bench
from hilnas.export import export_int8
from hilnas.farm import FarmOptions, Fidelity, MeasurementOptions
from hilnas.trial import Measurement, Verdict
from tests.benchmarks.export_speed import NETS

TOOLS = ["ours", "peer", "as long"]
PEER = """
import os, statistics, sys
os.sched_setaffinity(0, [int(sys.argv.pop(1))])
plain = statistics.median
def median(values):
    print("unrounded", repr(plain(values)))
    print("runs", *values)
    return plain(values)
statistics.median = median
from ai_edge_litert.tools.benchmark_litert_model import main
sys.exit(main())
"""


def exported(name: str) -> bytes:
    """A network with fresh weights, as int8."""
    build, side, _ = NETS[name]
    torch.manual_seed(0)
    return export_int8(build().eval(), torch.randn(8, 3, side, side))


def peer_ms(model: Path, cpu: int, runs: int) -> tuple[float, list[float]]:
    """Median latency by the peer, and each run's, in ms; `runs` 0: its own default."""
    asked = ["--num_runs", str(runs)] if runs else []
    done = subprocess.run(
        [sys.executable, "-c", PEER, str(cpu), "--model", str(model), "--num_threads", "1", *asked],
        capture_output=True,
        text=True,
        check=True,
    )
    told = [line.split() for line in done.stdout.splitlines()]
    figure = next(float(words[1]) for words in told if words[:1] == ["unrounded"])
    return figure, next([float(word) for word in words[1:]] for words in told if words[:1] == ["runs"])


def runs_of(measured: Measurement) -> int:
    """Inferences that were timed."""
    assert measured.latency is not None
    return len(measured.latency.samples_ns) * measured.latency.inner_loops


async def measure(place: Bench, content: bytes, fidelity: Fidelity) -> Measurement:
    """One measurement without energy."""
    (found,) = await place.measure([content], fidelity)
    assert found.latency is not None, found.message
    return found


async def contest(repeats: int, seed: int, fidelity: Fidelity) -> None:
    """Measure everything and print the table."""
    cpu = max(os.sched_getaffinity(0))
    rng = random.Random(seed)
    models = {name: exported(name) for name in NETS}
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    trusted: dict[str, list[float]] = defaultdict(list)
    single: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{number}.tflite" for number, name in enumerate(models)}
        for name, content in models.items():
            paths[name].write_bytes(content)
        async with bench(FarmOptions(local_cpus=[cpu]), MeasurementOptions()) as place:
            runs = {name: runs_of(await measure(place, models[name], fidelity)) for name in models}
            for repeat in range(repeats):
                for name in rng.sample(list(models), len(models)):
                    for tool in rng.sample(TOOLS, len(TOOLS)):
                        if tool == "ours":
                            found = await measure(place, models[name], fidelity)
                            assert found.latency is not None
                            figure = found.latency.median_ms
                            single[name, tool] += [ns / 1e6 for ns in found.latency.samples_ns]
                            if found.verdict is Verdict.TRUSTED:
                                trusted[name].append(figure)
                        else:
                            count = runs[name] if tool == "as long" else 0
                            figure, each = await asyncio.to_thread(peer_ms, paths[name], cpu, count)
                            single[name, tool] += each
                        figures[name, tool].append(figure)
                print(f"repeat {repeat + 1} of {repeats}", file=sys.stderr, flush=True)
    report(list(models), figures, trusted, single)


def report(
    names: list[str],
    figures: dict[tuple[str, str], list[float]],
    trusted: dict[str, list[float]],
    single: dict[tuple[str, str], list[float]],
) -> None:
    """Print the table."""
    columns = (
        "network | ours ms | peer ms | ratio, fastest tenth | ratio, pairs | spread ours | TRUSTED | peer | "
        "peer, as long | TRUSTED"
    )
    print(f"| {columns} |")
    print("|---" * 10 + "|")
    ratios = []
    for name in names:
        ours, peer, long = (figures[name, tool] for tool in TOOLS)
        pairs = median(a / b for a, b in zip(ours, long, strict=True))
        fast, fast_peer = (float(np.percentile(single[name, tool], 10)) for tool in ("ours", "as long"))
        ratios.append(fast / fast_peer)
        print(
            f"| {name} | {fast:.4f} | {fast_peer:.4f} | {ratios[-1]:.3f} | {pairs:.3f} | {spread(ours)} | "
            f"{spread(trusted[name])} | {spread(peer)} | {spread(long)} | {len(trusted[name])} of {len(ours)} |"
        )
    print(
        f"\nratios of the fastest tenth {min(ratios):.3f} to {max(ratios):.3f}, median {median(ratios):.3f}"
    )


def spread(values: list[float]) -> str:
    """(Highest - lowest) / median; a dash for fewer than two."""
    return f"{(max(values) - min(values)) / median(values):.1%}" if len(values) > 1 else "–"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fidelity", type=Fidelity, default=Fidelity.FULL)
    options = parser.parse_args()
    asyncio.run(contest(options.repeats, options.seed, options.fidelity))
