"""`hilnas measure` against `litert-benchmark`: do their medians agree, and which repeats itself better?

    python -m tests.benchmarks.peer_benchmark --repeats 8

Five networks, one thread, one processor for both, measured in turns in an order drawn anew each time: ours
(a FULL measurement as it ships), the peer as it comes (its default number of runs), and the peer for as many
runs as ours takes inferences. The peer prints its median to 0.01 ms; here it is taken unrounded from its
own run. Spread: (highest - lowest) / median of a tool's repeats, of figures that the tool itself gave.
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

import torch

from hilnas.daemon.measure import Bench, bench
from hilnas.export import export_int8
from hilnas.farm import FarmOptions, Fidelity, MeasurementOptions
from hilnas.trial import Measurement, Verdict
from tests.benchmarks.export_speed import NETS

PEER = """
import os, statistics, sys
os.sched_setaffinity(0, [int(sys.argv.pop(1))])
plain = statistics.median
statistics.median = lambda values: (print("unrounded", repr(plain(values))), plain(values))[1]
from ai_edge_litert.tools.benchmark_litert_model import main
sys.exit(main())
"""


def exported(name: str) -> bytes:
    """A network with fresh weights, as int8."""
    build, side, _ = NETS[name]
    torch.manual_seed(0)
    return export_int8(build().eval(), torch.randn(8, 3, side, side))


def peer_ms(model: Path, cpu: int, runs: int) -> float:
    """Median latency by the peer in ms; `runs` 0: its own default."""
    asked = ["--num_runs", str(runs)] if runs else []
    done = subprocess.run(
        [sys.executable, "-c", PEER, str(cpu), "--model", str(model), "--num_threads", "1", *asked],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(next(line for line in done.stdout.splitlines() if line.startswith("unrounded")).split()[1])


def runs_of(measured: Measurement) -> int:
    """Inferences that were timed."""
    assert measured.latency is not None
    return len(measured.latency.samples_ns) * measured.latency.inner_loops


async def measure(place: Bench, content: bytes) -> Measurement:
    """One FULL measurement without energy."""
    (found,) = await place.measure([content], Fidelity.FULL)
    return found


async def contest(repeats: int, seed: int) -> None:
    """Measure everything and print the table."""
    cpu = max(os.sched_getaffinity(0))
    rng = random.Random(seed)
    models = {name: exported(name) for name in NETS}
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    unstable: dict[str, int] = defaultdict(int)
    farm = FarmOptions(local_cpus=[cpu])
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{number}.tflite" for number, name in enumerate(models)}
        for name, content in models.items():
            paths[name].write_bytes(content)
        async with bench(farm, MeasurementOptions()) as place:
            runs = {name: runs_of(await measure(place, content)) for name, content in models.items()}
            turns = [(name, tool) for name in models for tool in ("ours", "peer", "peer, as long")]
            for repeat in range(repeats):
                rng.shuffle(turns)
                for name, tool in turns:
                    if tool == "ours":
                        found = await measure(place, models[name])
                        assert found.latency is not None, found.message
                        unstable[name] += found.verdict is not Verdict.TRUSTED
                        if found.verdict is Verdict.TRUSTED:
                            figures[name, tool].append(found.latency.median_ms)
                    else:
                        count = runs[name] if tool == "peer, as long" else 0
                        figures[name, tool].append(await asyncio.to_thread(peer_ms, paths[name], cpu, count))
                print(f"repeat {repeat + 1} of {repeats}", file=sys.stderr, flush=True)
    report(list(models), figures, unstable, repeats)


def report(
    names: list[str], figures: dict[tuple[str, str], list[float]], unstable: dict[str, int], repeats: int
) -> None:
    """Print the table."""
    print(
        "| network | ours ms | peer ms | ratio | spread ours | peer | peer, as long | ours / peer's | UNSTABLE |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    ratios, shares = [], []
    for name in names:
        ours, peer, long = (figures[name, tool] for tool in ("ours", "peer", "peer, as long"))
        row = f"| {name} |"
        if len(ours) < 2:
            print(f"{row} no two TRUSTED figures of {repeats} |||||||")
            continue
        ratio, share = median(ours) / median(long), spread(ours) / spread(long)
        ratios.append(ratio)
        shares.append(share)
        print(
            f"{row} {median(ours):.4f} | {median(long):.4f} | {ratio:.3f} | {spread(ours):.1%} | "
            f"{spread(peer):.1%} | {spread(long):.1%} | {share:.2f} | {unstable[name]} of {repeats} |"
        )
    if ratios:
        print(
            f"\nratios {min(ratios):.3f} to {max(ratios):.3f}; spread, ours / peer's: {median(shares):.2f} median"
        )


def spread(values: list[float]) -> float:
    """(Highest - lowest) / median."""
    return (max(values) - min(values)) / median(values)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(contest(options.repeats, options.seed))
