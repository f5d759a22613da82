"""The rules that make a session's figure doubtful, each with what was found and what is allowed."""

from dataclasses import dataclass

import numpy as np

from hilnas_agent.conditions import THROTTLED_NOW, Reading, bit_names
from hilnas_agent.evidence import Evidence, at_least, at_most
from hilnas_agent.protocol import Timing
from hilnas_agent.settings import Rules, Settings
from hilnas_agent.statistics import Samples, Summary

_MEMORY = "the device is short of memory"
_FAR = 1.05
"""An outlier is so much slower than the median, at least."""


@dataclass(frozen=True)
class Watched:
    """What was counted while samples were taken."""

    before: Reading
    after: Reading
    lowest_khz: int | None
    switches: int
    major_faults: int
    neighbour_load: float
    neighbours_known: bool
    slowdown: float | None = None
    fixed_work_ns: int = 0


def session_evidence(timing: Timing, summary: Summary, settings: Settings, seen: Watched) -> list[Evidence]:
    """How a session kept the rules of its settings, the interval first; no more than that without rules."""
    found = [interval_evidence(summary, settings)]
    if settings.rules is not None:
        found += sample_evidence(timing, settings)
        found += device_evidence(settings.rules, seen, len(timing.samples_ns))
    return found


def interval_evidence(summary: Summary, settings: Settings) -> Evidence:
    """How wide the interval of the median is."""
    return at_most(
        "interval",
        summary.half_width,
        settings.max_half_width,
        f"the interval's half-width is {summary.half_width:.1%} of the median, "
        f"at most {settings.max_half_width:.1%} allowed",
    )


def sample_evidence(timing: Timing, settings: Settings) -> list[Evidence]:
    """How the samples themselves kept the rules: warm-up, drift, spread, outliers."""
    rules = settings.rules or Rules()
    kept = np.array(timing.kept_ns(), np.float64)
    found = []
    if timing.stationary is not None:
        found.append(
            Evidence(
                "warm-up",
                timing.stationary,
                f"timings were stationary after {timing.warmup_runs} inferences"
                if timing.stationary
                else f"timings were not stationary after {timing.warmup_ns / 1e9:.1f} s of warm-up: "
                "raise max_warmup_ms, or look for what disturbs the device",
            )
        )
    elif timing.too_slow:
        found.append(
            Evidence("warm-up", True, "not checked: so slow a model would have to warm up for far too long")
        )
    drift, spread, outliers = drift_share(kept), mad_share(kept), outlier_share(kept)
    found += [
        at_most("drift", drift, rules.max_drift, f"the last third of the samples is {drift:.1%} off the first"),
        at_most("spread", spread, rules.max_mad_share, f"half of the samples are within {spread:.1%} of the median"),
        at_most("outliers", outliers, rules.max_outlier_share, f"{outliers:.1%} of the samples are outliers"),
    ]  # fmt: skip
    return found


def device_evidence(rules: Rules, seen: Watched, samples: int) -> list[Evidence]:
    """How the device itself kept the rules while so many samples were taken."""
    before, after = seen.before, seen.after
    switches = seen.switches / max(1, samples)
    swapped = after.swapped_pages - before.swapped_pages
    return [
        frequency_evidence(rules, seen.before.target_khz, seen.lowest_khz),
        _throttling(before.throttle_bits, after.throttle_bits),
        temperature_evidence(rules, before.temperature_c, after.temperature_c),
        at_most(
            "switches",
            switches,
            rules.max_switches_per_sample,
            f"other work interrupted the model {seen.switches} times in {samples} samples",
        ),
        at_most(
            "page-faults",
            seen.major_faults,
            rules.max_major_faults,
            f"{seen.major_faults} page faults waited for the disk",
            _MEMORY,
        ),
        at_most("swap", swapped, 0, f"{swapped} pages were swapped", _MEMORY),
        Evidence("quiet", True, "not checked: the kernel does not tell processor times")
        if not seen.neighbours_known
        else at_most(
            "quiet",
            seen.neighbour_load,
            # A stretch is set aside beyond the limit; what is left may be a little over it, on the whole.
            rules.max_neighbour_load,
            f"other work took {seen.neighbour_load:.2f} processors while the samples that count were taken",
            "end it, or measure when the device is idle",
        ),
        at_most(
            "speed",
            seen.slowdown,
            rules.max_slowdown,
            f"a fixed piece of work took {seen.slowdown or 0:.0%} longer than at the processor's best",
            "something that the kernel does not tell of slows it: another virtual machine, a power limit",
            "it was not looked at",
        ),
    ]


def temperature_evidence(rules: Rules, before_c: float | None, after_c: float | None) -> Evidence:
    """How much the hottest sensor rose."""
    rise = None if after_c is None or before_c is None else after_c - before_c
    return at_most(
        "temperature",
        rise,
        rules.max_temperature_rise_c,
        f"the hottest sensor rose by {rise or 0:.1f} °C",
        "cool the board better, or measure for a shorter time",
        missing="there is no temperature sensor",
    )


def frequency_evidence(rules: Rules, target: int | None, lowest: int | None) -> Evidence:
    """How the lowest frequency seen compares with the highest that the governor allows, in kHz."""
    share = lowest / target if lowest and target else None
    text = f"the processor ran at {lowest / 1000:.0f} of {target / 1000:.0f} MHz" if lowest and target else ""
    remedy = "set the governor to performance, and see that it is cool and has enough power"
    return at_least(
        "frequency", share, rules.min_frequency_share, text, remedy, "the kernel tells no frequency"
    )


def _throttling(before: int | None, after: int | None) -> Evidence:
    if before is None or after is None:
        return Evidence("throttling", True, "not checked: the firmware does not tell of throttling")
    now, since = (before | after) & THROTTLED_NOW, (after & ~before) >> 16
    if now or since:
        names = " and ".join(bit_names(now | since))
        return Evidence(
            "throttling", False, f"the firmware reports {names} while measuring", float(now | since)
        )
    return Evidence("throttling", True, "the firmware did not throttle", 0.0)


def drift_share(samples: Samples) -> float:
    """Difference of the medians of the last and the first third, as a share of the first's; 0 for under nine."""
    third = len(samples) // 3
    if third < 3:
        return 0.0
    first, last = float(np.median(samples[:third])), float(np.median(samples[-third:]))
    return abs(last - first) / first if first > 0 else 0.0


def mad_share(samples: Samples) -> float:
    """Median absolute deviation over the median."""
    median = float(np.median(samples))
    return float(np.median(np.abs(samples - median))) / median if median > 0 else 0.0


def outlier_share(samples: Samples) -> float:
    """Share of samples above the upper quartile + 1.5 interquartile ranges that are 5 % above the median."""
    lower, median, upper = np.percentile(samples, (25, 50, 75))
    fence = max(upper + 1.5 * (upper - lower), _FAR * median)
    return float(np.mean(np.asarray(samples) > fence))
