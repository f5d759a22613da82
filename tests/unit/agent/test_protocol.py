from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilnas_agent.protocol import Hooks, Settings, measure

MS = 1_000_000
SETTINGS = Settings(
    warmup_runs=20, warmup_ms=1, min_samples=100, min_sample_ms=10, min_sampling_ms=50, max_sampling_ms=400
)


class Bench:
    """A clock that moves when an inference runs, and only then."""

    def __init__(self, cost_ns, first_ns=None, clock_cost_ns=0):
        self.now, self.runs = 0, 0
        self.cost_ns, self.first_ns, self.clock_cost_ns = cost_ns, first_ns or cost_ns, clock_cost_ns

    def clock(self):
        self.now += self.clock_cost_ns
        return self.now

    def invoke(self):
        self.now += self.cost_ns if self.runs else self.first_ns
        self.runs += 1

    def measure(self, settings, hooks=None):
        return measure(self.invoke, self.clock, settings, hooks or Hooks())


def test_the_first_inference_is_timed_apart():
    timing = Bench(2 * MS, first_ns=9 * MS).measure(SETTINGS)
    assert timing.first_ns == 9 * MS
    assert set(timing.samples_ns) == {timing.inner_loops * 2 * MS}


@pytest.mark.parametrize(("cost_ns", "runs"), [(5 * MS, 20), (10_000, 100)])
def test_warm_up_lasts_for_the_runs_and_for_the_time(cost_ns, runs):
    timing = Bench(cost_ns).measure(SETTINGS)
    assert timing.warmup_runs == runs
    assert timing.warmup_ns == runs * cost_ns


@settings(deadline=None)
@given(st.integers(200, 50 * MS), st.integers(0, 500))
def test_a_sample_is_never_too_short(cost_ns, clock_cost_ns):
    short = replace(SETTINGS, warmup_ms=0.01, min_samples=3, min_sampling_ms=0, min_sample_ms=0.5)
    timing = Bench(cost_ns, clock_cost_ns=clock_cost_ns).measure(short)
    assert min(timing.samples_ns) >= 0.5 * MS
    assert timing.inner_loops == 1 or cost_ns < 0.5 * MS
    assert timing.inner_loops * cost_ns < 1.2 * MS or timing.inner_loops == 1


def test_a_slow_model_is_not_looped():
    assert Bench(11 * MS).measure(SETTINGS).inner_loops == 1


def test_at_least_the_samples_and_the_time():
    few = replace(SETTINGS, min_samples=5, min_sampling_ms=300)
    assert len(Bench(10 * MS).measure(few).samples_ns) == 30
    assert len(Bench(10 * MS).measure(SETTINGS).samples_ns) == 100


def test_the_least_samples_hold_beyond_the_longest_sampling_but_no_more():
    capped = replace(SETTINGS, min_samples=50, min_sampling_ms=10_000, max_sampling_ms=100)
    assert len(Bench(10 * MS).measure(capped).samples_ns) == 50
    capped = replace(capped, min_samples=2)
    assert len(Bench(10 * MS).measure(capped).samples_ns) == 10


class Noted(Hooks):
    """Notes how many inferences each hook came after; sampling may begin after `quiet_after` of them."""

    def __init__(self, bench, quiet_after=0):
        self.bench, self.quiet_after = bench, quiet_after

    def warming(self):
        self.warming_after = self.bench.runs

    def may_sample(self):
        return self.bench.runs >= self.quiet_after

    def sampling(self):
        self.sampling_after = self.bench.runs


def test_the_hooks_come_after_the_first_inference_and_after_the_warm_up():
    bench = Bench(10 * MS)
    hooks = Noted(bench)
    timing = bench.measure(SETTINGS, hooks)
    assert hooks.warming_after == 1
    assert hooks.sampling_after == 1 + timing.warmup_runs == 21
    assert bench.runs == hooks.sampling_after + len(timing.samples_ns)
    assert timing.held_ns == 0


def test_the_warm_up_goes_on_until_the_device_is_quiet():
    bench = Bench(10 * MS)
    timing = bench.measure(SETTINGS, Noted(bench, quiet_after=51))
    assert timing.warmup_runs == 50
    assert timing.held_ns == 30 * 10 * MS
    assert timing.warmup_ns == 50 * 10 * MS


def test_an_error_of_the_model_comes_through():
    with pytest.raises(RuntimeError, match="boom"):
        measure(lambda: (_ for _ in ()).throw(RuntimeError("boom")), lambda: 0, SETTINGS, Hooks())


@pytest.mark.parametrize(
    "change",
    [
        {"confidence": 0.0},
        {"confidence": 1.0},
        {"bootstrap_resamples": 0},
        {"bootstrap_resamples": 10**7},
        {"min_samples": 0},
        {"min_samples": 10**6},
        {"min_sample_ms": float("nan")},
        {"min_sample_ms": -1.0},
    ],
)
def test_settings_that_cannot_be_followed_are_named(change):
    assert next(iter(change)) in replace(SETTINGS, **change).problem()


def test_good_settings_have_no_problem():
    assert SETTINGS.problem() is None
    assert Settings().problem() is None
