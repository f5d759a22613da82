"""What a SCREEN and a FULL measurement of a model of about 2 ms take, as they ship, and an energy pass.

    python -m tests.benchmarks.fidelity_times --repeats 5

Seconds from asking to the verdict, on this machine through its own agent, with the model cached and a worker
waiting; beside it the device's own account. Once as it ships, where what is in doubt is measured again after a
pause, and once without that: what a measurement takes on a device that is steady.
Asked for: a SCREEN at most 2.5 s, a FULL at most 15 s.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from statistics import median

from hilnas.daemon.measure import Bench, bench
from hilnas.farm import FarmOptions, Fidelity, MeasurementOptions
from tests.benchmarks.peer_benchmark import exported

MODEL = "MobileNetV2-1.0 @ 96"


async def main(repeats: int) -> None:
    """Measure and print the table."""
    content = exported(MODEL)
    once = {"remeasures": 0}
    print("| | latency ms | seconds, median | longest | on the device, median | verdicts |")
    print("|---|---|---|---|---|---|")
    for title, options in (
        ("once", MeasurementOptions.model_validate({"screen": once, "full": once})),
        ("as it ships", MeasurementOptions()),
    ):
        async with bench(FarmOptions(), options) as place:
            await place.measure([content], Fidelity.SCREEN)
            for fidelity in Fidelity:
                await _row(place, content, fidelity, title, repeats)


async def _row(place: Bench, content: bytes, fidelity: Fidelity, title: str, repeats: int) -> None:
    seconds, device, latencies = [], [], []
    verdicts: Counter[str] = Counter()
    for _ in range(repeats):
        await asyncio.sleep(1.5)
        start = time.perf_counter()
        (found,) = await place.measure([content], fidelity)
        seconds.append(time.perf_counter() - start)
        device.append(found.device_ms / 1000)
        verdicts[found.verdict] += 1
        assert found.latency is not None
        latencies.append(found.latency.median_ms)
    told = ", ".join(f"{name} {count}" for name, count in verdicts.items())
    print(
        f"| {fidelity.upper()}, {title} | {median(latencies):.3f} | {median(seconds):.2f} | {max(seconds):.2f} | "
        f"{median(device):.2f} | {told} |",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    asyncio.run(main(parser.parse_args().repeats))
