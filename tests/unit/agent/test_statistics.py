import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilnas_agent.statistics import mad, median_interval, summarize

_TIMES = st.lists(st.integers(1, 10**9), min_size=1, max_size=200)


@settings(deadline=None)
@given(_TIMES)
def test_the_summary_agrees_with_numpy(samples):
    summary = summarize(np.array(samples), 0.95, 200, seed=1)
    assert summary.median == np.median(samples)
    assert (summary.p5, summary.p90, summary.p95) == tuple(np.percentile(samples, (5, 90, 95)))
    assert summary.mad == np.median(np.abs(np.array(samples) - np.median(samples)))
    assert min(samples) <= summary.low <= summary.high <= max(samples)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 101])
def test_the_interval_is_that_of_the_plain_bootstrap(n):
    rng = np.random.default_rng(0)
    samples = rng.lognormal(0, 0.3, n)
    plain = np.median(rng.choice(samples, (40_000, n)), axis=1)
    expected = np.quantile(plain, (0.05, 0.95))
    got = median_interval(samples, 0.90, 40_000, seed=2)
    assert got == pytest.approx(expected, rel=0.02)


def test_the_interval_covers_the_true_median_as_often_as_it_says():
    rng = np.random.default_rng(3)
    trials = 400
    hits = 0
    for trial in range(trials):
        low, high = median_interval(rng.normal(10, 1, 60), 0.95, 500, seed=trial)
        hits += low <= 10 <= high
    assert 0.90 <= hits / trials <= 0.99


def test_a_seed_fixes_the_interval():
    samples = np.random.default_rng(4).normal(5, 1, 50)
    assert median_interval(samples, 0.95, 300, 7) == median_interval(samples, 0.95, 300, 7)
    assert median_interval(samples, 0.95, 300, 7) != median_interval(samples, 0.95, 300, 8)


def test_the_half_width_is_a_share_of_the_median():
    summary = summarize(np.array([10.0] * 50), 0.95, 100, 0)
    assert summary.half_width == 0
    assert summarize(np.zeros(5), 0.95, 100, 0).half_width == float("inf")
    assert mad(np.array([1, 1, 2, 2, 4, 6, 9])) == 1
