"""TFLite's benchmark_model: what to call it with, and what it prints.

The forms are those of tensorflow/lite/tools/benchmark/benchmark_model.cc and tsl/util/stats_calculator.h;
releases since 2024 (LiteRT) print the percentiles too. What is not understood is an error, never a number.
"""

import math
import re
from dataclasses import dataclass

from hilnas_agent import verdicts
from hilnas_agent.phones.adb import Finished, quote

_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
_PREFIX = r"^(?:INFO: )?"
_STAT = re.compile(
    _PREFIX + rf"count=(?P<count>\d+)(?: first=\d+)? curr=(?P<curr>\d+)"
    rf"(?P<same>\(all same\))?"
    rf"(?: min=(?P<min>\d+) max=(?P<max>\d+) avg=(?P<avg>{_NUMBER}) std=\d+)?"
    rf"(?: p5=\d+ median=(?P<median>\d+) p95=\d+)?\s*$",
    re.MULTILINE,
)
_TIMINGS = re.compile(
    _PREFIX + rf"Inference timings in us: Init: (\d+), First inference: (\d+), "
    rf"Warmup \(avg\): ({_NUMBER}), Inference \(avg\): ({_NUMBER})\s*$",
    re.MULTILINE,
)
_PEAK = re.compile(
    _PREFIX + rf"Overall peak memory footprint \(MB\) via periodic monitoring: ({_NUMBER})\s*$", re.MULTILINE
)
_XNNPACK = re.compile(
    r"Explicitly applied XNNPACK delegate, and the model graph will be "
    r"(?:completely executed by the delegate|partially executed by the delegate w/ (\d+) delegate kernels)"
)
_NO_MODEL = (
    "Failed to load model",
    "Failed to mmap model",
    "not a valid Flatbuffer",
    "Model provided has model identifier",
    "Failed to construct interpreter",
    "Failed to initialize the interpreter",
)
_CANNOT_RUN = (126, 127)
_COARSE_US = 200
"""Medians are whole µs, which is too coarse below this."""
_TAIL = 600
_KHZ = "hilnas-khz "
_KHZ_LINE = re.compile(rf"^{_KHZ}(\d{{1,9}})$", re.MULTILINE)
_LOOK_AFTER_S = 0.15


class NotUnderstoodError(Exception):
    """The output is not that of benchmark_model; the message has its end."""


@dataclass(frozen=True)
class Stat:
    """One line of statistics: how many runs, and their mean and median in µs (None: not told)."""

    count: int
    mean_us: float
    median_us: int | None


@dataclass(frozen=True)
class Report:
    """What one invocation said."""

    init_us: int
    first_us: int
    warmup: Stat
    runs: Stat
    peak_mib: float | None
    delegate: str
    partitions: int

    @property
    def sample_us(self) -> float:
        """Time of one inference: the median where the program tells one that is fine enough, else the mean."""
        median = self.runs.median_us
        return float(median) if median is not None and median >= _COARSE_US else self.runs.mean_us

    @property
    def spent_ms(self) -> float:
        """Time that it spent loading, warming up and inferring."""
        runs = self.warmup.count * self.warmup.mean_us + self.runs.count * self.runs.mean_us
        return (self.init_us + runs) / 1000


@dataclass(frozen=True)
class Invocation:
    """How to call it: for so long at least, after such a warm-up."""

    threads: int
    xnnpack: bool
    warmup_runs: int
    warmup_s: float
    stretch_s: float
    most_s: float
    memory: bool = False
    """Watch the memory too, by a thread of its own which disturbs the timing a little."""


def command(program: str, model: str, cpus: list[int], asked: Invocation) -> str:
    """The command for the phone's shell; frequencies are looked at while it runs, on standard error."""
    flags = {
        "graph": model,
        "num_threads": asked.threads,
        "num_runs": 1,
        "min_secs": f"{asked.stretch_s:.3f}",
        "max_secs": f"{asked.most_s:.3f}",
        "warmup_runs": max(1, asked.warmup_runs),
        "warmup_min_secs": f"{asked.warmup_s:.3f}",
        "use_xnnpack": str(asked.xnnpack).lower(),
        "enable_op_profiling": "false",
        "report_peak_memory_footprint": str(asked.memory).lower(),
    }
    words = " ".join(quote(f"--{name}={value}") for name, value in flags.items())
    mask = sum(1 << cpu for cpu in cpus)
    places = " ".join(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq" for cpu in cpus)
    look = (
        f"(sleep {_LOOK_AFTER_S}; for f in {places}; do [ -r $f ] && "
        f'echo "{_KHZ}$(cat $f)" >&2; done) </dev/null >/dev/null & '
    )
    return f"{look}exec taskset {mask:x} {quote(program)} {words}"


def parse(text: str) -> Report:
    """What benchmark_model printed; NotUnderstoodError when a part is missing, double, or no possible number."""
    stats, timings, peaks = list(_STAT.finditer(text)), _TIMINGS.findall(text), _PEAK.findall(text)
    if len(stats) != 2 or len(timings) != 1 or len(peaks) > 1:
        raise NotUnderstoodError(f"no output of benchmark_model: {tail(text)}")
    warmup, runs = (_stat(found, text) for found in stats)
    init_us, first_us, _, mean_us = timings[0]
    if not math.isclose(float(mean_us), runs.mean_us, rel_tol=1e-4):
        raise NotUnderstoodError(f"two means that differ, {mean_us} and {runs.mean_us} us: {tail(text)}")
    delegated = _XNNPACK.search(text)
    return Report(
        init_us=int(init_us),
        first_us=int(first_us),
        warmup=warmup,
        runs=runs,
        peak_mib=float(peaks[0]) if peaks else None,
        delegate="xnnpack" if delegated else "",
        partitions=int(delegated[1] or 1) if delegated else 0,
    )


def frequencies_khz(errors: str) -> list[int]:
    """Frequencies that were seen while it ran, in kHz, from its standard error."""
    return [int(found) for found in _KHZ_LINE.findall(errors)]


def failure(finished: Finished, deadline_ms: int) -> tuple[str, str] | None:
    """Verdict and message of an invocation that failed, or None for one that did not."""
    if finished.timed_out:
        return verdicts.of_end(verdicts.Ended(timed_out=True), deadline_ms)
    if finished.code == 0:
        return None
    lines = _KHZ_LINE.sub("", finished.errors + "\n" + finished.text).splitlines()
    words = "\n".join(line for line in lines if not line.startswith("INFO:"))
    if finished.code > 128:
        number = finished.code - 128
        ended = verdicts.Ended(took_job=True, returncode=-number, stderr=_KHZ_LINE.sub("", finished.errors))
        return verdicts.of_end(ended, deadline_ms)
    if finished.code in _CANNOT_RUN:
        return "DEVICE_FAULT", (
            f"the phone cannot run the benchmark binary (exit {finished.code}: {tail(words)}): give one that was "
            "built for its processor (adb shell getprop ro.product.cpu.abi)"
        )
    refused = any(sign in words for sign in _NO_MODEL)
    verdict, _ = verdicts.of_error(ValueError(words) if refused else OSError(words), loading=True)
    return verdict, f"benchmark_model failed (exit {finished.code}): {tail(words)}"


def tail(text: str) -> str:
    """The end of a text, on one line."""
    line = " | ".join(part.strip() for part in text.splitlines() if part.strip())
    return line[-_TAIL:] if line else "(nothing)"


def _stat(found: re.Match[str], text: str) -> Stat:
    count, now = int(found["count"]), int(found["curr"])
    if found["avg"] is None:
        mean, possible = float(now), count == 1 or found["same"] is not None
    else:
        mean = float(found["avg"])
        # The mean has six digits.
        possible = int(found["min"]) * (1 - 1e-5) <= mean <= int(found["max"]) * (1 + 1e-5) and count > 1
    median = int(found["median"]) if found["median"] else None
    if not (possible and count >= 1 and math.isfinite(mean) and mean > 0):
        raise NotUnderstoodError(f"statistics that cannot be, {found[0].strip()!r}: {tail(text)}")
    return Stat(count, mean, median)
