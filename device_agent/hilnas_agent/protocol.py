"""The measurement protocol: first inference, warm-up, inner loops, samples.

Clock and inference are handed in, so the rules run in tests without time or model. This is where
a stationarity test, several sessions and more reasons to distrust a figure belong.
"""

import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

Clock = Callable[[], int]
"""A monotonic clock in ns."""

Invoke = Callable[[], object]
"""Runs one inference."""

_MAX_LOOPS = 1 << 24
_MAX_SAMPLES = 1 << 16
_NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class Settings:
    """The fields of the wire's MeasurementProtocol, under the same names and in the same units."""

    warmup_runs: int = 20
    warmup_ms: float = 1000
    min_samples: int = 100
    min_sample_ms: float = 10
    min_sampling_ms: float = 3000
    max_sampling_ms: float = 30_000
    confidence: float = 0.95
    bootstrap_resamples: int = 1000
    max_half_width: float = 0.02

    def problem(self) -> str | None:
        """What makes these settings unusable, or None."""
        if not 0 < self.confidence < 1:
            return f"confidence is {self.confidence}, not between 0 and 1"
        if not 1 <= self.bootstrap_resamples <= 1_000_000:
            return f"bootstrap_resamples is {self.bootstrap_resamples}, not between 1 and 1000000"
        if not 1 <= self.min_samples <= _MAX_SAMPLES:
            return f"min_samples is {self.min_samples}, not between 1 and {_MAX_SAMPLES}"
        if not (math.isfinite(self.min_sample_ms) and self.min_sample_ms >= 0):
            return f"min_sample_ms is {self.min_sample_ms}, not a time"
        return None


@dataclass
class Timing:
    """What was timed, in ns; each sample covers `inner_loops` inferences."""

    first_ns: int = 0
    warmup_runs: int = 0
    warmup_ns: int = 0
    held_ns: int = 0
    """Part of the warm-up that was longer than the settings ask."""
    sampling_ns: int = 0
    inner_loops: int = 1
    samples_ns: "array[int]" = field(default_factory=lambda: array("Q"))


class Hooks:
    """What a worker does between the parts of a measurement; by itself nothing."""

    def warming(self) -> None:
        """The first inference is done; the warm-up begins."""

    def may_sample(self) -> bool:
        """False while the device is not quiet yet: the warm-up goes on."""
        return True

    def sampling(self) -> None:
        """The warm-up is done; sampling begins."""


def measure(invoke: Invoke, clock: Clock, settings: Settings, hooks: Hooks) -> Timing:
    """Times inferences by the settings: first, warm-up, samples."""
    start = clock()
    invoke()
    timing = Timing(first_ns=clock() - start)
    hooks.warming()
    fastest = _warm_up(invoke, clock, settings, timing, hooks.may_sample)
    hooks.sampling()
    start = clock()
    timing.inner_loops = _calibrate(invoke, clock, round(settings.min_sample_ms * _NS_PER_MS), fastest)
    _sample(invoke, clock, settings, timing)
    timing.sampling_ns = clock() - start
    return timing


def _warm_up(
    invoke: Invoke, clock: Clock, settings: Settings, timing: Timing, may_sample: Callable[[], bool]
) -> int:
    """Infers until the runs and the time are spent and sampling may begin; the fastest inference, in ns."""
    enough_ns = settings.warmup_ms * _NS_PER_MS
    fastest, runs = timing.first_ns, 0
    begin = last = clock()
    warm_at = None
    while True:
        if runs >= settings.warmup_runs and last - begin >= enough_ns:
            warm_at = last if warm_at is None else warm_at
            if may_sample():
                break
        invoke()
        now = clock()
        fastest = min(fastest, now - last)
        last = now
        runs += 1
    timing.warmup_runs, timing.warmup_ns, timing.held_ns = runs, last - begin, last - warm_at
    return fastest


def _calibrate(invoke: Invoke, clock: Clock, wanted_ns: int, fastest_ns: int) -> int:
    """Inferences that a sample must hold so that it lasts at least `wanted_ns`."""
    if fastest_ns >= wanted_ns:
        return 1
    loops = min(_MAX_LOOPS, math.ceil(wanted_ns / max(fastest_ns, 1)))
    # A single timing holds the clock's own cost, so a loop of them runs faster: check by a trial.
    while loops < _MAX_LOOPS:
        start = clock()
        for _ in range(loops):
            invoke()
        took = clock() - start
        if took >= wanted_ns:
            break
        loops = min(_MAX_LOOPS, max(loops + 1, math.ceil(loops * 1.05 * wanted_ns / max(took, 1))))
    return loops


def _sample(invoke: Invoke, clock: Clock, settings: Settings, timing: Timing) -> None:
    """Takes samples: the least number always, then until the time is spent."""
    enough_ns = min(settings.min_sampling_ms, settings.max_sampling_ms) * _NS_PER_MS
    loops, samples = range(timing.inner_loops), timing.samples_ns
    begin = clock()
    while True:
        start = clock()
        for _ in loops:
            invoke()
        end = clock()
        samples.append(end - start)
        if len(samples) >= _MAX_SAMPLES:
            return
        if len(samples) >= settings.min_samples and end - begin >= enough_ns:
            return
