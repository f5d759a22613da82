"""What every energy meter of the agent must do. It knows the agent by shape alone, not by import."""

import math
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

_PATIENCE_S = 10.0
_LEAST_READINGS = 3


class MeterContract:
    """Derive, and give the fixture `driver`, made without arguments.

    Give `argument` too where it needs one, and `root` where the instrument's files are recorded ones; `advance`
    is called between readings, for an instrument that stands still unless something is done to it.
    """

    @pytest.fixture
    def driver(self) -> Any:
        """Return the driver under test."""
        pytest.fail("give the fixture `driver`")

    @pytest.fixture
    def argument(self) -> str:
        """Return what the user would write behind the driver's name and "="."""
        return ""

    @pytest.fixture
    def root(self) -> Path:
        """Return where /sys begins."""
        return Path("/")

    @pytest.fixture
    def advance(self) -> Callable[[], object]:
        """Return what makes time pass for the instrument."""
        return lambda: time.sleep(0.01)

    @pytest.fixture
    def meters(self, driver: Any, argument: str, root: Path) -> list[Any]:
        """Return the instruments that the driver finds."""
        found = list(driver.find(argument, root))
        assert found, "the driver finds no instrument: give `argument` or `root`"
        return found

    def test_it_says_what_it_is(self, driver: Any, meters: list[Any]) -> None:
        assert driver.name
        names = [meter.traits.name for meter in meters]
        assert len(set(names)) == len(names)
        for meter in meters:
            traits = meter.traits
            assert traits.name.startswith(driver.name.partition("-")[0])
            assert traits.boundary in {"wall", "board", "soc", "rails"}
            assert traits.kind in {"power", "counter"}
            for value in (traits.rate_hz, traits.resolution, traits.wraps_at_j):
                assert math.isfinite(value)
                assert value >= 0
            assert traits.wraps_at_j == 0 or traits.kind == "counter"

    def test_it_finds_the_same_again(self, driver: Any, argument: str, root: Path, meters: list[Any]) -> None:
        again = [meter.traits for meter in driver.find(argument, root)]
        assert again == [meter.traits for meter in meters]

    def test_nothing_is_found_where_nothing_is(self, driver: Any, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        assert list(driver.find("", empty)) == []

    def test_its_readings_are_dated_and_go_forward(
        self, meters: list[Any], advance: Callable[[], object]
    ) -> None:
        for meter in meters:
            assert meter.problem() is None
            begin_ns = time.monotonic_ns()
            meter.open()
            try:
                readings = _readings(meter, advance)
            finally:
                meter.close()
            ended_ns = time.monotonic_ns()
            moments = [reading.clock_ns for reading in readings]
            assert moments == sorted(moments)
            for reading in readings:
                assert isinstance(reading.clock_ns, int)
                assert math.isfinite(reading.value)
                assert reading.within_ns >= 0
                # What is dated before it was asked for is the mean of the time before.
                slack_ns = reading.within_ns + 1_000_000_000
                assert begin_ns - slack_ns <= reading.clock_ns <= ended_ns + reading.within_ns
            if meter.traits.kind == "counter":
                values = [reading.value for reading in readings]
                falls = sum(after < before for before, after in pairwise(values))
                assert falls == 0 or meter.traits.wraps_at_j > 0, "a counter goes down where it wraps alone"

    def test_it_may_be_closed_twice(self, meters: list[Any]) -> None:
        for meter in meters:
            meter.open()
            meter.close()
            meter.close()


def _readings(meter: Any, advance: Callable[[], object]) -> list[Any]:
    readings: list[Any] = []
    ends_at = time.monotonic() + _PATIENCE_S
    while len(readings) < _LEAST_READINGS:
        assert time.monotonic() < ends_at, f"{meter.traits.name} gives no readings"
        advance()
        readings += meter.read()
    return readings
