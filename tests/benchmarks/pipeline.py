"""What overlapping saves: a 24-trial search against the same trials done one after the other.

    python -m tests.benchmarks.pipeline [--trials 24]

Both searches draw the same architectures (strategy random, one seed) and do the same work on them. One
after the other: one trial under way, one worker. The third run (`farm.quiet=false`) leaves training running while this
machine measures itself, which is faster and less true; a board elsewhere has it for free.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ONE_BY_ONE = ["search.in_flight=1", "search.group=1", "executor.workers=1"]


def search(folder: Path, *overrides: str) -> dict[str, Any]:
    """Run the quickstart with changes; return its results."""
    sets = [argument for override in overrides for argument in ("--set", override)]
    command = [sys.executable, "-m", "hilnas", "run", "--out", str(folder), "--json", *sets]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    results: dict[str, Any] = json.loads(done.stdout)
    return results


def main() -> None:
    """Print wall times and their ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=24)
    options = parser.parse_args()
    common = [f"search.trials={options.trials}", "strategy.name=random", "final.top=0"]
    runs = {
        "one after the other": [*common, *ONE_BY_ONE],
        "overlapped": common,
        "overlapped, quiet off": [*common, "farm.quiet=false"],
    }
    walls: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, overrides in runs.items():
            results = search(Path(temporary) / name.replace(" ", "-"), *overrides)
            walls[name] = results["wall_s"]
            latencies = [trial["latency_ms"] for trial in results["trials"]]
            print(
                f"{name:24} {results['wall_s']:7.1f} s  {walls['one after the other'] / results['wall_s']:5.2f}x  "
                f"device busy {100 * results['device_busy_fraction']:4.0f} %  "
                f"sum of latencies {sum(latencies):7.2f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
