"""The energy figure against a known truth: `python -m tests.benchmarks.energy_truth --runs 1000`.

Simulated devices whose idle power drifts and wanders, and whose busy power is not the same in every stretch,
seen by simulated instruments with noise, steps, gaps, wraps and clocks that are off. The pass, the integration
and the interval are the agent's own; time is virtual.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from hilnas_agent.energy import figure
from hilnas_agent.energy.settings import EnergySettings
from hilnas_agent.meters import COUNTER, POWER, Traits
from tests.unit.agent.energy_world import Instrument, World, measured

FAST = EnergySettings(idle_ms=2000, busy_ms=4000, coarse_busy_ms=60_000, min_readings=20)

Make = Callable[[World], Instrument]

INSTRUMENTS: dict[str, Make] = {
    # RAPL: 61 µJ steps, polled at 100 Hz, starting again at zero every few seconds.
    "rapl (counter, 100 Hz, wraps)": lambda world: Instrument(
        world, Traits("rapl", "soc", COUNTER, 100.0, 61e-6, 21.7), gap_chance=0.05, gap_s=0.15
    ),
    # INA226: means of 20 ms, in steps of 25 times 25 µA, noise that resembles itself.
    "hwmon (power, 50 Hz)": lambda world: Instrument(
        world, Traits("hwmon", "board", POWER, 50.0, 6e-4), mean_s=0.02, noise_w=5e-3, noise=0.005,
        memory=0.5, gap_chance=0.03, gap_s=0.1, clock_s=0.01,
    ),
    # The Pi 5's chip: ten momentary readings a second, 2 % of noise, some missing.
    "pmic (power, 10 Hz)": lambda world: Instrument(
        world, Traits("pmic", "rails", POWER, 10.0), noise=0.02, gap_chance=0.03, gap_s=0.25, clock_s=5e-3
    ),
    # ODPM over adb: a counter on the phone's clock, asked five times a second.
    "odpm (counter, 5 Hz, own clock)": lambda world: Instrument(
        world, Traits("odpm", "rails", COUNTER, 5.0, 1e-6), jitter=0.4, clock_s=0.02, gap_chance=0.02, gap_s=0.5
    ),
    # A battery's gauge: means of a second, 3 % of noise, steps of 1 mA at 3.8 V.
    "battery (power, 1 Hz, coarse)": lambda world: Instrument(
        world, Traits("battery", "board", POWER, 1.0, 3.8e-3, coarse=True), mean_s=1.0, noise=0.03,
        clock_s=0.1, gap_chance=0.005, gap_s=2.5,
    ),
    # PPK2: means of 10 ms, fine, with blocks of samples lost.
    "ppk2 (power, 100 Hz)": lambda world: Instrument(
        world, Traits("ppk2", "board", POWER, 100.0, 1e-6), mean_s=0.01, noise_w=1e-3, gap_chance=0.1,
        gap_s=0.05, clock_s=2e-3,
    ),
}  # fmt: skip


def one(make: Make, seed: int, busy_w: float) -> tuple[World, dict[str, object]]:
    """A world of its own and what the pass made of it."""
    rng = np.random.default_rng(seed)
    idle_w = rng.uniform(1.0, 4.0)
    world = World(
        rng,
        idle_w=idle_w,
        busy_w=busy_w * idle_w * rng.uniform(0.5, 1.5),
        inference_s=rng.uniform(0.01, 0.2),
        drift_w_s=idle_w * rng.normal(0, 2e-4),
        wander_w=idle_w * rng.uniform(0, 4e-3),
        wander_s=rng.uniform(20, 120),
        unsteady=rng.uniform(0, 0.01),
    )
    instrument = make(world)
    return world, figure.of(measured(world, instrument, FAST), FAST, instrument.traits).energy


def row(name: str, make: Make, runs: int) -> str:
    """Errors and coverage of an instrument, as a line of a table."""
    verdicts: Counter[str] = Counter()
    errors, widths, covered = [], [], []
    for seed in range(runs):
        world, energy = one(make, seed, 0.8)
        verdicts[str(energy["verdict"])] += 1
        if "net_mj" in energy:
            net, low, high = (float(str(energy[key])) for key in ("net_mj", "low_mj", "high_mj"))
            truth = world.net_j * 1e3
            errors.append(abs(net - truth) / truth)
            widths.append((high - low) / 2 / truth)
            covered.append(low <= truth <= high)
    # A load that is not there, and one of a thousandth of the idle power.
    nothing = Counter("net_mj" in one(make, seed, 0.0)[1] for seed in range(runs // 5))
    little = Counter("net_mj" in one(make, seed, 1e-3)[1] for seed in range(runs // 5))
    return (
        f"| {name} | {verdicts['TRUSTED']} · {verdicts['UNSTABLE']} · {verdicts['BELOW_RESOLUTION']} · "
        f"{verdicts['UNAVAILABLE']} | {np.median(errors):.2%} | {np.percentile(errors, 95):.2%} | "
        f"{np.median(widths):.2%} | {np.mean(covered):.1%} | {nothing[True] / (runs // 5):.1%} | "
        f"{little[True] / (runs // 5):.1%} |"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    start = time.perf_counter()
    print(
        "| instrument | trusted · unstable · below · none | error, median | 95 % | half-width | in the interval ",
        end="",
    )
    print("| figure of nothing | figure of 0.1 % |")
    print("|---|---|---|---|---|---|---|---|")
    for name, make in INSTRUMENTS.items():
        print(row(name, make, runs), flush=True)
    print(f"\n{runs} runs each, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
