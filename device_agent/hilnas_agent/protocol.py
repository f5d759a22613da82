"""The measurement protocol: first inference, warm-up, inner loops, samples.

Clock and inference are handed in, so the rules run in tests without time or model.
"""

import math
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from hilnas_agent.settings import Settings
from hilnas_agent.stationary import LEAST, is_stationary

Clock = Callable[[], int]
"""A monotonic clock in ns."""

Invoke = Callable[[], object]
"""Runs one inference."""

_MAX_LOOPS = 1 << 24
_MAX_SAMPLES = 1 << 16
_NS_PER_MS = 1_000_000
_WINDOW = 2 * LEAST
"""Timings that are compared to see whether they have become alike."""
_SLICE_NS = 25 * _NS_PER_MS
"""Samples are judged together by the processor's speed in slices of this length."""
_SLICES = 4
"""As many slices are a stretch: its samples are judged together by what else the device did."""
_Z = 1.96


@dataclass
class Timing:
    """What was timed, in ns; each sample covers `inner_loops` inferences."""

    first_ns: int = 0
    warmup_runs: int = 0
    warmup_ns: int = 0
    stationary: bool | None = None
    """Did the warm-up end because timings had become alike? None when that was not asked for, or not told."""
    too_slow: bool = False
    """It was asked for, but so many timings would have taken too long."""
    held_ns: int = 0
    """Part of the warm-up that was longer than the settings ask."""
    sampling_ns: int = 0
    inner_loops: int = 1
    samples_ns: "array[int]" = field(default_factory=lambda: array("Q"))
    set_aside: "array[int]" = field(default_factory=lambda: array("L"))
    """Places of samples that were taken beside other work."""

    def kept_ns(self) -> "array[int]":
        """The samples that count: all of them where too few would be left."""
        aside = set(self.set_aside)
        return array("Q", (ns for place, ns in enumerate(self.samples_ns) if place not in aside))


class Hooks:
    """What a worker does between the parts of a measurement; by itself nothing."""

    def warming(self) -> None:
        """The first inference is done; the warm-up begins."""

    def may_sample(self) -> bool:
        """False while the device is not quiet yet: the warm-up goes on."""
        return True

    def sampling(self) -> None:
        """The warm-up is done; sampling begins."""

    def slice(self) -> bool:
        """A slice of samples is done; False when the processor was slowed."""
        return True

    def stretch(self) -> bool:
        """A stretch of samples is done; False when they were taken beside other work."""
        return True


def measure(invoke: Invoke, clock: Clock, settings: Settings, hooks: Hooks) -> Timing:
    """Times inferences by the settings: first, warm-up, samples."""
    start = clock()
    invoke()
    timing = Timing(first_ns=clock() - start)
    hooks.warming()
    begin = clock()
    last: deque[int] = deque(maxlen=_WINDOW)
    fastest = _warm_up(invoke, clock, settings, timing, hooks.may_sample, last)
    wanted_ns = round(settings.min_sample_ms * _NS_PER_MS)
    timing.inner_loops = _calibrate(invoke, clock, wanted_ns, fastest)
    if settings.max_warmup_ms:
        # What held the warm-up up was none of its doing, so it does not count.
        ends_ns = begin + settings.max_warmup_ms * _NS_PER_MS + timing.held_ns
        # Single inferences are like samples only where a sample is a single one.
        _settle(invoke, clock, settings, timing, ends_ns, last if timing.inner_loops == 1 else deque())
    hooks.sampling()
    start = clock()
    _sample(invoke, clock, settings, timing, hooks)
    timing.sampling_ns = clock() - start
    return timing


def _warm_up(
    invoke: Invoke,
    clock: Clock,
    settings: Settings,
    timing: Timing,
    may_sample: Callable[[], bool],
    timings: "deque[int]",
) -> int:
    """Infers until the runs and the time are spent and sampling may begin; the fastest inference, in ns.

    Each inference goes into `timings`, in ns.
    """
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
        timings.append(now - last)
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


def _settle(
    invoke: Invoke, clock: Clock, settings: Settings, timing: Timing, ends_ns: float, before: "deque[int]"
) -> None:
    """Goes on warming up until timings are stationary, by `ends_ns` where there is the time for that.

    A slow model has not: there the warm-up's own timings, `before`, may show it, and what fails it are timings
    that began after `ends_ns`. Where these would take longer than the sampling may, it is not told.
    """
    loops, now = range(timing.inner_loops), clock()
    timings: deque[int] = deque(maxlen=_WINDOW)
    fair_from: float = now
    fair, gives_up_ns = 0, math.inf
    if before and _WINDOW * min(before) > ends_ns - now:
        timings.extend(before)
        fair_from = ends_ns
        # Those of a warm-up that was held up were taken beside other work.
        fair = 0 if timing.held_ns else _since(ends_ns, now, timings)
    while True:
        if len(timings) == _WINDOW and is_stationary(list(timings)):
            timing.stationary = True
            return
        start = clock()
        if start >= ends_ns and timings:
            if fair >= _WINDOW:
                timing.stationary = False
                return
            took = min(timings)
            if gives_up_ns == math.inf:
                gives_up_ns = start + max(settings.max_sampling_ms * _NS_PER_MS, settings.floor * took)
            if start + (_WINDOW - fair) * took > gives_up_ns:
                timing.too_slow = True
                return
        for _ in loops:
            invoke()
        end = clock()
        timings.append(end - start)
        fair += start >= fair_from
        timing.warmup_runs += timing.inner_loops
        timing.warmup_ns += end - start


def _since(moment_ns: float, end_ns: int, timings: "deque[int]") -> int:
    """How many of the timings, of which the last ended at `end_ns`, began at that moment or after it."""
    count = 0
    for took in reversed(timings):
        end_ns -= took
        if end_ns < moment_ns:
            break
        count += 1
    return count


def _sample(invoke: Invoke, clock: Clock, settings: Settings, timing: Timing, hooks: Hooks) -> None:
    """Takes samples, a stretch at a time, until the interval is narrow enough or the time is spent.

    Samples beside other work, or on a slowed processor, are set aside, and their time is given once more, up to
    a third of all. Where that leaves too few, none is: then the rules say so.
    """
    enough_ns = min(settings.min_sampling_ms, settings.max_sampling_ms) * _NS_PER_MS
    most_ns = settings.max_sampling_ms * _NS_PER_MS
    samples, aside = timing.samples_ns, timing.set_aside
    begin = end = clock()
    aside_ns = 0
    while True:
        first, since, lost = len(samples), end, array("L")
        for _ in range(_SLICES):
            place, ends_at = len(samples), end + _SLICE_NS
            while True:
                end = _take(invoke, clock, timing)
                enough = (
                    len(samples) - len(aside) - len(lost) >= settings.min_samples and end - begin >= enough_ns
                )
                over = end - begin >= most_ns + min(aside_ns, most_ns // 3) and len(samples) >= settings.floor
                full = over or len(samples) >= _MAX_SAMPLES
                if full or end >= ends_at or (enough and settings.rules is None):
                    break
            if not hooks.slice():
                lost.extend(range(place, len(samples)))
            if full or (enough and settings.rules is None):
                break
        if not hooks.stretch():
            lost = array("L", range(first, len(samples)))
        aside.extend(lost)
        aside_ns += (end - since) * len(lost) // (len(samples) - first)
        enough = len(samples) - len(aside) >= settings.min_samples and enough
        if full or (
            enough and (settings.rules is None or _is_narrow(timing.kept_ns(), settings.max_half_width))
        ):
            break
    if len(samples) - len(aside) < settings.floor:
        del aside[:]


def _take(invoke: Invoke, clock: Clock, timing: Timing) -> int:
    """Takes one sample; the time after it."""
    loops = range(timing.inner_loops)
    start = clock()
    for _ in loops:
        invoke()
    end = clock()
    timing.samples_ns.append(end - start)
    return end


def _is_narrow(samples_ns: "array[int]", max_half_width: float) -> bool:
    """Is the interval of the median narrow, by the binomial ranks around it (95 %, normal)?"""
    values, n = sorted(samples_ns), len(samples_ns)
    reach = _Z * math.sqrt(n) / 2
    low, high = max(0, math.floor(n / 2 - reach)), min(n - 1, math.ceil(n / 2 + reach))
    return values[high] - values[low] <= 2 * max_half_width * values[n // 2]
