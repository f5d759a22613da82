import asyncio
import hashlib
from dataclasses import replace

import pytest

from hilnas.export import check_int8
from hilnas.farm import Fidelity, MeasurementOptions
from hilnas.farm.protocol import CanaryOptions
from hilnas.measuring import Measurer
from hilnas.measuring.canary import Canaries, canary_model
from hilnas.trial import Verdict
from tests.unit.measuring.sessions import session

OPTIONS = CanaryOptions(every=3, every_minutes=15)
CANARY = hashlib.sha256(canary_model()).hexdigest()


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def canaries(clock):
    return Canaries(OPTIONS, clock)


def test_the_reference_model_is_what_it_always_was():
    assert CANARY.startswith("2d2c900865e976ef")
    assert check_int8(canary_model()).macs == 9_184_704


def test_due_at_first_then_after_so_many_figures_or_so_much_time(canaries, clock):
    assert canaries.is_due("one")
    canaries.read(session(device="one"))
    assert not canaries.is_due("one")
    for number in range(3):
        canaries.measured("one", f"m{number}")
    assert canaries.is_due("one")
    canaries.read(session(device="one"))
    assert not canaries.is_due("one")
    clock.now = 900
    assert canaries.is_due("one")
    assert not Canaries(CanaryOptions(every=0), clock).is_due("one")


def test_a_drift_puts_the_block_in_doubt(canaries):
    assert canaries.read(session(2.0)).state == "steady"
    canaries.measured("one", "a")
    canaries.measured("one", "b")
    reading = canaries.read(session(2.08))
    assert (reading.state, reading.doubtful) == ("drifting", ("a", "b"))
    assert reading.drift == pytest.approx(0.04)
    assert "+4.0% against 2 ms" in reading.message
    canaries.begin_block("one")
    assert canaries.read(session(2.0)).state == "steady"


def test_twice_far_off_is_a_quarantine_and_once_in_between_is_not(canaries):
    canaries.read(session(2.0))
    assert canaries.read(session(2.2)).state == "drifting"
    assert canaries.read(session(2.2)).state == "quarantine"
    assert canaries.read(session(2.0)).state == "steady"
    assert canaries.read(session(2.2)).state == "drifting"


def test_an_unsure_reading_says_nothing_and_waits_longer(canaries):
    canaries.read(session(2.0))
    for number in range(3):
        canaries.measured("one", f"m{number}")
    assert canaries.read(session(3.0, verdict=Verdict.UNSTABLE)).state == "unsure"
    assert not canaries.is_due("one")
    assert canaries.factor("one") == 1.0


def test_boards_of_one_class_are_made_comparable(canaries):
    for device, value in (("one", 2.0), ("two", 2.1), ("two", 2.12), ("two", 2.1)):
        canaries.read(session(value, device=device))
    assert canaries.factor("one") == 1.0
    assert canaries.factor("two") == pytest.approx(1.05)
    assert canaries.factor("three") is None


def test_references_outlive_the_host(canaries, clock):
    readings = [canaries.read(session(value, device=name)) for name, value in (("one", 2.0), ("two", 2.1))]
    later = Canaries(OPTIONS, clock)
    later.restore(readings)
    assert later.factor("two") == pytest.approx(1.05)
    assert later.is_due("two")
    assert later.read(session(2.3, device="two")).state == "drifting"


class Board:
    """A farm of one board that gets slower once it has measured so many sessions."""

    def __init__(self, slow_after, factor):
        self.slow_after, self.factor, self.asks, self.quarantined = slow_after, factor, [], []

    async def measure(self, ask):
        self.asks.append(ask)
        slow = self.factor if len(self.asks) > self.slow_after else 1.0
        return replace(session(2.0 * slow), model_sha256=ask.model_sha256)

    def quarantine(self, name, reason):
        self.quarantined.append((name, reason))


def search(board, count):
    heard = []

    async def sleep(_):
        pass

    options = MeasurementOptions(canary={"every": 3})
    measurer = Measurer(board, options, sleep, CANARY, heard.append)

    async def run():
        return [await measurer.measure(f"{n:064x}", "toy", Fidelity.SCREEN) for n in range(count)]

    return asyncio.run(run()), heard


def test_a_steady_board_reads_its_canary_at_first_and_at_intervals():
    board = Board(1000, 1)
    found, heard = search(board, 7)
    assert [ask.model_sha256 == CANARY for ask in board.asks].count(True) == 3
    assert {reading.state for reading in heard} == {"steady"}
    assert {one.canary_factor for one in found} == {1.0}
    assert not board.quarantined


def test_a_board_that_has_changed_measures_again_and_is_told():
    board = Board(4, 1.04)
    found, heard = search(board, 4)
    assert [reading.state for reading in heard] == ["steady", "drifting"]
    assert len(heard[1].doubtful) == 3
    assert [ask.model_sha256 for ask in board.asks].count(f"{3:064x}") == 2
    assert found[3].verdict is Verdict.UNSTABLE, "it still is not what it was"
    assert found[3].latency.low_ms <= 2.0 < found[3].latency.median_ms
    assert found[3].evidence[-1].rule == "canary"


def test_a_board_that_is_far_off_twice_is_put_away_and_its_figures_are_in_doubt():
    board = Board(4, 1.2)
    found, heard = search(board, 6)
    assert {name for name, _ in board.quarantined} == {"one"}
    assert heard[1].state == "quarantine"
    # The class has no other board, so it goes on.
    assert [one.verdict for one in found[3:]] == [Verdict.UNSTABLE] * 3


def test_a_board_that_was_put_away_leaves_its_model_to_another():
    class Pair(Board):
        async def measure(self, ask):
            name = ask.device or ask.prefer or ("two" if self.quarantined else "one")
            self.asks.append(ask)
            slow = 1.2 if name == "one" and len(self.asks) > self.slow_after else 1.0
            return replace(session(2.0 * slow, device=name), model_sha256=ask.model_sha256)

    found, heard = search(Pair(4, 1.2), 4)
    assert [one.device for one in found] == ["one"] * 3 + ["two"]
    assert found[3].verdict is Verdict.TRUSTED
    assert found[3].canary_factor == 1.0
    assert [(reading.device, reading.state) for reading in heard][1:] == [
        ("one", "quarantine"),
        ("two", "steady"),
    ]


def test_readings_that_were_off_do_not_move_the_factor_after_a_restart(clock):
    readings, canaries = [], Canaries(OPTIONS, clock)
    for name, value in [("one", 2.0), ("two", 2.0), ("two", 2.0), ("two", 2.4), ("two", 2.4), ("two", 2.4)]:
        readings.append(canaries.read(session(value, device=name)))
    later = Canaries(OPTIONS, clock)
    later.restore(readings)
    assert later.factor("two") == canaries.factor("two") == 1.0
    assert later.off("two") is not None
    assert later.off("one") is None
    assert later.read(session(2.4, device="two")).state == "quarantine"


def test_a_board_that_was_never_sure_is_asked_sooner(canaries):
    canaries.read(session(2.0, verdict=Verdict.UNSTABLE))
    canaries.measured("one", "a")
    assert not canaries.is_due("one")
    canaries.measured("one", "b")
    assert canaries.is_due("one")
