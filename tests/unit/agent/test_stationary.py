import random

import pytest

from hilnas_agent.neighbours import Moment, Neighbours
from hilnas_agent.protocol import Hooks, Settings, measure
from hilnas_agent.rules import sample_evidence
from hilnas_agent.settings import Rules
from hilnas_agent.stationary import is_stationary

MS = 1_000_000


def noisy(count, level=100.0, seed=0):
    generator = random.Random(seed)
    return [level * (1 + 0.01 * generator.random()) for _ in range(count)]


def test_a_flat_line_is_stationary():
    assert is_stationary([100.0] * 20)
    assert is_stationary(noisy(40))


@pytest.mark.parametrize(
    "values",
    [
        noisy(10, 140) + noisy(10, 100),  # still warming up
        noisy(10, 100) + noisy(10, 112),  # throttling begins
        [300.0, *noisy(19)],  # the first value is an outlier
        [100.0, 130.0] * 5 + noisy(10),  # a spread that settles
        noisy(18),  # too few to say
    ],
)
def test_what_is_not(values):
    assert not is_stationary(values)


class Bench:
    """A clock that moves with each inference, whose cost is a function of the time."""

    def __init__(self, cost):
        self.now, self.cost = 0, cost

    def clock(self):
        return self.now

    def invoke(self):
        self.now += self.cost(self.now)


def run(cost, hooks=None, **changes):
    fields = {
        "warmup_runs": 5, "warmup_ms": 20, "max_warmup_ms": 500, "min_samples": 50, "floor_samples": 10,
        "min_sample_ms": 2, "min_sampling_ms": 200, "max_sampling_ms": 900, "rules": Rules(),
    }  # fmt: skip
    bench = Bench(cost)
    return measure(bench.invoke, bench.clock, Settings(**fields | changes), hooks or Hooks()), bench


def test_the_warm_up_goes_on_until_timings_are_alike():
    timing, _ = run(lambda now: 2 * MS if now < 40 * MS else MS)
    assert timing.stationary
    assert timing.warmup_ns + timing.first_ns >= 60 * MS, "a window that is slow nowhere"
    assert set(timing.samples_ns) == {MS}


def test_a_warm_up_that_never_settles_ends_and_says_so():
    timing, _ = run(lambda now: MS + now // 100)
    assert timing.stationary is False
    assert 500 * MS <= timing.warmup_ns + timing.first_ns < 530 * MS


SCREEN = {
    "warmup_runs": 20, "warmup_ms": 300, "max_warmup_ms": 800, "min_samples": 100, "floor_samples": 10,
    "min_sample_ms": 5, "min_sampling_ms": 500, "max_sampling_ms": 1400,
}  # fmt: skip
FULL = SCREEN | {
    "warmup_ms": 1000, "max_warmup_ms": 1500, "min_sample_ms": 10, "min_sampling_ms": 2500, "max_sampling_ms": 5000,
}  # fmt: skip
LATENCIES_MS = (0.1, 2, 25, 40, 100, 500, 2000)
both_fidelities = pytest.mark.parametrize("fidelity", [SCREEN, FULL], ids=["screen", "full"])
of_every_latency = pytest.mark.parametrize("latency_ms", LATENCIES_MS)


def verdict(timing):
    """Does the rule about the warm-up let this pass, and what does it say?"""
    (found,) = (each for each in sample_evidence(timing, Settings(rules=Rules())) if each.rule == "warm-up")
    return found.passed, found.text


@both_fidelities
@of_every_latency
def test_a_steady_model_of_any_latency_is_stationary(fidelity, latency_ms):
    timing, _ = run(lambda now: round(latency_ms * MS), **fidelity)
    assert timing.stationary
    assert verdict(timing)[0]
    # One that is too slow to be told in that time costs nothing more than the runs that are asked for anyway.
    least_ms = max(fidelity["warmup_ms"], fidelity["warmup_runs"] * latency_ms)
    assert timing.warmup_ns <= max(fidelity["max_warmup_ms"], least_ms) * MS
    assert timing.sampling_ns <= max(fidelity["max_sampling_ms"] + 100, 10 * latency_ms) * MS


@both_fidelities
@of_every_latency
def test_a_model_that_gets_slower_and_slower_is_found_out_in_bounded_time(fidelity, latency_ms):
    window_ns = 20 * max(latency_ms, fidelity["min_sample_ms"]) * MS
    timing, _ = run(lambda now: round(latency_ms * MS * (1 + 0.3 * now / window_ns)), **fidelity)
    assert timing.stationary is False
    assert not verdict(timing)[0]
    slowest_ms, max_warmup_ms = timing.samples_ns[0] / MS, fidelity["max_warmup_ms"]
    least_ms = max(max_warmup_ms, 20 * slowest_ms)
    assert timing.warmup_ns <= (least_ms + max_warmup_ms + slowest_ms) * MS


@both_fidelities
@pytest.mark.parametrize("latency_ms", [25, 40, 100])
def test_a_model_that_needs_its_time_is_given_it(fidelity, latency_ms):
    slow_until = fidelity["max_warmup_ms"] * MS
    timing, _ = run(lambda now: round(latency_ms * MS * (1.5 if now < slow_until else 1)), **fidelity)
    assert timing.stationary
    assert timing.warmup_ns < slow_until + 21 * latency_ms * 1.5 * MS


class HeldUp(Hooks):
    """The device is not quiet for the first so many looks."""

    def __init__(self, looks):
        self.looks = looks

    def may_sample(self):
        self.looks -= 1
        return self.looks < 0


@both_fidelities
@of_every_latency
def test_a_warm_up_that_was_held_up_by_other_work_is_not_failed_for_it(fidelity, latency_ms):
    hooks = HeldUp(13)
    disturbed = random.Random(3)

    def cost(now):
        return round(latency_ms * MS * (1 if hooks.looks < 0 else disturbed.uniform(1, 2)))

    timing, _ = run(cost, hooks, **fidelity)
    assert timing.held_ns
    passed, text = verdict(timing)
    assert passed
    assert timing.stationary or text.startswith("not checked")
    if not timing.stationary:
        assert latency_ms >= 100


def test_too_slow_for_the_test_is_not_checked_and_costs_nothing():
    timing, _ = run(lambda now: 2000 * MS, **SCREEN | {"warmup_runs": 3})
    assert (timing.stationary, timing.too_slow, timing.warmup_runs) == (None, True, 3)
    passed, text = verdict(timing)
    assert passed
    assert text.startswith("not checked")


def test_sampling_goes_on_until_the_interval_is_narrow():
    wide = iter(noisy(100_000, 1, seed=1))
    narrow, _ = run(lambda now: round(MS * next(wide)))
    assert 200 * MS <= narrow.sampling_ns <= 320 * MS
    spread = random.Random(2)
    wide_timing, _ = run(lambda now: round(MS * spread.choice([1, 1.6])), min_sample_ms=0)
    assert 900 * MS <= wide_timing.sampling_ns < 1010 * MS


def test_the_floor_holds_beyond_the_time():
    timing, _ = run(lambda now: 300 * MS)
    assert len(timing.samples_ns) == 10


class Bursts(Hooks):
    """Every other stretch is disturbed."""

    def __init__(self, quiet):
        self.quiet = iter(quiet)

    def stretch(self):
        return next(self.quiet)


def test_disturbed_stretches_are_set_aside_and_made_up_for():
    timing, _ = run(lambda now: MS, Bursts([False, True, False, True, True, True, True]), min_sampling_ms=400)
    assert len(timing.set_aside) == 2 * 4 * 13, "two stretches of four slices of 25 ms, in samples of 2 ms"
    assert len(timing.kept_ns()) >= 50
    assert 200 * MS <= timing.sampling_ns <= 500 * MS


class Slow(Hooks):
    """The processor is slowed in some slices."""

    def __init__(self, full):
        self.full = iter(full)

    def slice(self):
        return next(self.full)


def test_slow_slices_are_set_aside_alone_and_their_time_is_given_once_more():
    full = [True, False, True, True] * 4 + [True] * 99
    timing, _ = run(lambda now: MS, Slow(full), min_sampling_ms=400)
    assert len(timing.set_aside) == 4 * 13
    assert timing.set_aside[0] == 13
    endless, _ = run(lambda now: MS, Slow(([True] * 3 + [False]) * 99), min_samples=9999)
    plain, _ = run(lambda now: MS, min_samples=9999)
    assert 1.2 * plain.sampling_ns < endless.sampling_ns <= 1.34 * plain.sampling_ns + 100 * MS


def test_where_nothing_is_quiet_everything_counts():
    timing, _ = run(lambda now: MS, Bursts([False] * 50))
    assert not timing.set_aside
    assert timing.sampling_ns >= 900 * MS


def moments(*rows):
    return iter(
        [
            Moment(wall * MS, own * MS, None if everyone is None else everyone * MS)
            for wall, own, everyone in rows
        ]
    )


def neighbours(*rows, limit=0.1):
    script = moments(*rows)
    return Neighbours(limit, lambda: next(script))


def test_own_work_is_no_neighbour():
    watch = neighbours((0, 0, 0), (0, 0, 0), (100, 100, 110))
    watch.begin()
    assert watch.quiet()
    assert watch.load() == pytest.approx(0.1)


def test_a_neighbour_is_heard_beyond_two_ticks():
    watch = neighbours((0, 0, 0), (0, 0, 0), (100, 100, 120), (200, 200, 250), (300, 300, 350))
    watch.begin()
    assert [watch.quiet() for _ in range(3)] == [True, False, True]
    assert watch.load() == pytest.approx(50 / 300)
    assert watch.load(of_quiet=True) == pytest.approx(20 / 200)


def test_a_kernel_that_does_not_tell():
    watch = neighbours((0, 0, None), (0, 0, None), (100, 50, None))
    watch.begin()
    assert watch.quiet()
    assert not watch.known
