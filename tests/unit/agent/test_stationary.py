import random

import pytest

from hilnas_agent.neighbours import Moment, Neighbours
from hilnas_agent.protocol import Hooks, Settings, measure
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
    assert len(timing.set_aside) == 100
    assert len(timing.kept_ns()) >= 50
    assert 200 * MS <= timing.sampling_ns <= 500 * MS


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
