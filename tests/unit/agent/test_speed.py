"""The fixed piece of work: what it says of each stretch, and what is remembered of it."""

import pytest

from hilnas_agent.speed import FixedWork, KnownSpeed, Speed


def speed(*times, limit=0.1, known=0):
    """Speed after the given times of the work, and what it said of each stretch."""
    turns = iter(times)
    looked = Speed(limit, known, lambda: next(turns))
    looked.begin()
    return looked, [looked.is_full() for _ in times[1:]]


def test_a_slice_counts_when_both_its_ends_are_fast():
    looked, said = speed(100, 102, 150, 101, 100)
    assert said == [True, False, False, True]
    assert looked.best_ns == 101, "a single fast moment is no speed that a slice could be taken at"
    assert looked.slowdown() == pytest.approx(150 / 101 - 1)
    assert looked.slowdown(of_full=True) == pytest.approx(102 / 101 - 1)


def test_a_session_that_is_slow_throughout_is_found_out_by_what_is_known():
    alone, said = speed(150, 151, 150)
    assert all(said)
    assert alone.slowdown() == pytest.approx(151 / 151 - 1)
    known, said = speed(150, 151, 150, known=100)
    assert not any(said)
    assert known.slowdown() == pytest.approx(0.51)


def test_a_slow_beginning_is_found_out_at_the_end():
    looked, said = speed(150, 150, 100, 100)
    assert said[0]
    assert looked.slowdown(of_full=True) == pytest.approx(0.5)


def test_without_a_limit_nothing_is_done():
    looked = Speed(0, 100, lambda: pytest.fail("the work was done"))
    looked.begin()
    assert looked.is_full()
    assert looked.slowdown() is None


def test_before_any_stretch_nothing_is_said():
    looked, _ = speed(100)
    assert looked.slowdown() is None
    assert looked.best_ns == 0


def test_the_work_takes_time_and_little_of_it():
    took = sorted(FixedWork()() for _ in range(20))
    assert 1_000 < took[10] < 50_000_000


def test_the_best_is_kept_over_restarts(tmp_path):
    path = tmp_path / "speed"
    first = KnownSpeed(path, "boot-1")
    assert first.best_ns == 0
    for told, best in ((0, 0), (300, 300), (200, 300), (250, 250), (260, 250)):
        first.note(told)
        assert first.best_ns == KnownSpeed(path, "boot-1").best_ns == best
    assert KnownSpeed(path, "boot-2").best_ns == 0, "a firmware may have been changed"


def test_one_session_that_lies_spoils_nothing():
    known = KnownSpeed()
    for told in (1, 200, 210):
        known.note(told)
    assert known.best_ns == 200


@pytest.mark.parametrize(
    "torn",
    ["", "null", "[", '["boot", "much"]', '["boot", [-3]]', '["boot", 3]', "7", "\xff"],
)
def test_a_torn_file_is_as_none(tmp_path, torn):
    (tmp_path / "speed").write_text(torn, encoding="latin-1")
    known = KnownSpeed(tmp_path / "speed", "boot")
    assert known.best_ns == 0
    known.note(100)
    assert KnownSpeed(tmp_path / "speed", "boot").best_ns == 100


def test_a_full_disk_costs_the_memory_alone(tmp_path, caplog):
    known = KnownSpeed(tmp_path / "missing" / "speed", "boot")
    known.note(100)
    assert known.best_ns == 100
    assert "cannot keep" in caplog.text
