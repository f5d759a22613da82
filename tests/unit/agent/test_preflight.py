"""The state of a device before it measures: what is looked at, waited for, and told."""

import json

import pytest

from hilnas_agent import check, conditions, cores, preflight
from hilnas_agent.preflight import IdleTemperature, cool_down
from hilnas_agent.settings import Preflight
from tests.unit.agent.boards import FakeBoard

BIG_LITTLE = ((1_800_000, 1_800_000),) * 4 + ((2_400_000, 2_400_000),) * 2


@pytest.fixture
def board(tmp_path):
    return FakeBoard(tmp_path)


def checks(board, cpus=(0, 1, 2, 3), threads=1):
    reading = conditions.read(board.root, cpus)
    return {each.rule: each for each in preflight.checks(Preflight(), reading, cpus, threads, board.root)}


def test_a_board_that_is_fit(board):
    board.throttle(0x50000)
    assert all(each.passed for each in checks(board).values())


def test_a_governor_that_follows_the_load(tmp_path):
    found = checks(FakeBoard(tmp_path, governor="ondemand"))["governor"]
    assert not found.passed
    assert "scaling_governor" in found.text


def test_a_pinned_frequency_is_as_good_as_performance(tmp_path):
    board = FakeBoard(tmp_path, governor="userspace")
    for cpu in range(4):
        board.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_min_freq", 1_500_000)
    assert checks(board)["governor"].passed


def test_throttling_names_its_remedy(board):
    board.throttle(0x1)
    assert "under-voltage: use a stronger power supply" in checks(board)["throttled"].text
    board.throttle(0x8)
    assert "cool the board" in checks(board)["throttled"].text


def test_other_work(board):
    board.pressure(12.5)
    found = checks(board)["pressure"]
    assert (found.passed, found.value, found.limit) == (False, 0.125, 0.02)


def test_more_threads_than_processors_and_processors_of_two_kinds(tmp_path):
    board = FakeBoard(tmp_path, cpus=BIG_LITTLE)
    assert "2 processors" in checks(board, (4, 5), threads=3)["processors"].text
    assert "different kinds" in checks(board, (0, 4))["processors"].text
    assert checks(board, (4, 5), threads=2)["processors"].passed


def test_the_fast_processors_measure_and_the_agent_keeps_to_the_others(tmp_path):
    root = FakeBoard(tmp_path, cpus=BIG_LITTLE).root
    assert cores.clusters(range(6), root) == [[4, 5], [0, 1, 2, 3]]
    assert cores.share_out(range(6), root) == ([4, 5], [0, 1, 2, 3])
    assert cores.share_out(range(4), root) == ([0, 1, 2, 3], [0])
    assert cores.pinned([2, 3, 4], 2) == [3, 4]


def test_capacity_counts_before_frequency(tmp_path):
    board = FakeBoard(tmp_path, cpus=((2_000_000, 2_000_000),) * 2)
    board.write("sys/devices/system/cpu/cpu0/cpu_capacity", 1024)
    board.write("sys/devices/system/cpu/cpu1/cpu_capacity", 400)
    assert cores.clusters([0, 1], board.root) == [[0], [1]]


def test_the_slowest_processor_tells_the_frequency(tmp_path):
    board = FakeBoard(tmp_path, cpus=((1_500_000, 1_500_000), (600_000, 1_500_000)))
    assert conditions.read(board.root, (0, 1)).frequency_khz == 600_000
    assert conditions.frequency_khz(board.root, (0, 1)) == 600_000
    assert conditions.frequency_khz(board.root, (7,)) is None


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_the_idle_temperature_is_the_lowest_of_the_last_hour(board):
    clock = Clock()
    idle = IdleTemperature(board.root, clock)
    for seconds, degrees in ((60, 44.0), (120, 52.0), (600, 47.0)):
        clock.now = seconds
        board.heat(degrees)
        idle.look()
    assert idle.lowest_c() == 44.0
    clock.now = 3670
    idle.look()
    assert idle.lowest_c() == 47.0


def test_a_hot_board_is_waited_for(board):
    idle = IdleTemperature(board.root)
    board.heat(60)
    waits = []

    def wait(seconds):
        waits.append(seconds)
        board.heat(60 - 3 * len(waits))

    evidence, waited_ms = cool_down(idle, Preflight(), wait)
    assert evidence.passed
    assert len(waits) == 3
    assert waited_ms >= 0


def test_a_board_that_stays_hot_is_deferred_with_the_figures(board):
    idle = IdleTemperature(board.root)
    board.heat(60)
    evidence, _ = cool_down(idle, Preflight(max_cooldown_ms=0), lambda seconds: None)
    assert not evidence.passed
    assert "60.0 °C, 12.0 °C above the idle device" in evidence.text


def test_a_job_that_is_no_longer_wanted_waits_no_longer(board):
    idle = IdleTemperature(board.root)
    board.heat(60)
    assert not cool_down(idle, Preflight(), lambda seconds: True)[0].passed


def test_a_board_without_a_sensor_does_not_wait(tmp_path):
    evidence, _ = cool_down(IdleTemperature(tmp_path), Preflight(), pytest.fail)
    assert evidence.passed
    assert "no temperature sensor" in evidence.text


NO_METERS = {"meters": [], "meter_reasons": []}
FACTS = NO_METERS | {"offers": [["toy", "1", False, "toy:Toy"]], "reasons": ["other is not installed"]}


def test_check_names_what_would_spoil_a_figure(board):
    found = {each.rule: each for each in check.look(FACTS, [1], 1, board.root)}
    assert all(each.passed for each in found.values())
    board.heat(85)
    board.write("proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 1000 kB")
    board.write("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", 600_000)
    found = {each.rule: each.text for each in check.look(FACTS, [1], 1, board.root) if not each.passed}
    assert set(found) == {"temperature", "memory", "frequency"}
    assert "600 of 1500 MHz: set the governor" in found["frequency"]


def test_check_without_a_runtime(board):
    found = check.look(NO_METERS | {"offers": [], "reasons": ["toy is not installed"]}, [1], 1, board.root)
    assert (found[0].passed, "toy is not installed" in found[0].text) == (False, True)


def test_check_prints_json_and_its_exit_code_tells(capsys):
    code = check.main(["--json"])
    printed = json.loads(capsys.readouterr().out)
    assert code == (0 if all(each["passed"] for each in printed["checks"]) else 1)
    assert {"governor", "runtime", "pressure"} <= {each["rule"] for each in printed["checks"]}
