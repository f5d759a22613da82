"""Instruments that the kernel or the firmware shows as files and text: recorded ones, with their quirks."""

import os

import pytest

from hilnas_agent import check, identity, meters
from hilnas_agent.meters import COUNTER, POWER, MeterError, pmic
from hilnas_agent.meters.battery import Battery
from hilnas_agent.meters.hwmon import Hwmon
from hilnas_agent.meters.pmic import Pmic
from hilnas_agent.meters.rapl import Rapl
from tests.unit.agent.boards import FakeBoard

# The answer of a Raspberry Pi 5, shortened to some of its rails; EXT5V and BATT tell a voltage alone.
PMIC = """\
     3V7_WL_SW_A current(0)=0.09954000A
       3V3_SYS_A current(1)=0.05660000A
     VDD_CORE_A current(7)=1.30670000A
     3V7_WL_SW_V volt(8)=3.68816000V
       3V3_SYS_V volt(9)=3.31612000V
     VDD_CORE_V volt(15)=0.87650000V
        EXT5V_V volt(24)=5.15100000V
         BATT_V volt(25)=0.00610000V
"""
PMIC_W = 0.09954 * 3.68816 + 0.0566 * 3.31612 + 1.3067 * 0.8765


@pytest.fixture
def board(tmp_path):
    return FakeBoard(tmp_path)


def files(board, folder, **content):
    for name, value in content.items():
        board.write(f"{folder}/{name}", value)


def values(meter):
    return [reading.value for reading in meter.read()]


def zone(board, place, name, microjoules, most=262143328850):
    folder = f"sys/class/powercap/{place}"
    files(board, folder, name=name, energy_uj=microjoules, max_energy_range_uj=most)


def test_rapl_zones_and_what_they_see(board):
    zone(board, "intel-rapl:0", "package-0", 1_500_000)
    zone(board, "intel-rapl:0:0", "core", 500_000)
    zone(board, "intel-rapl:0:1", "dram", 250_000, most=65712999613)
    zone(board, "intel-rapl:1", "psys", 9)
    zone(board, "intel-rapl-mmio:0", "package-0", 1_500_001)
    found = Rapl().find("", board.root)
    assert [(m.traits.name, m.traits.boundary) for m in found] == [
        ("rapl:package-0", "soc"),
        ("rapl:psys", "board"),
        ("rapl:package-0:core", "rails"),
        ("rapl:package-0:dram", "rails"),
    ]
    assert values(found[0]) == [pytest.approx(1.5)], "the MSR's zone, not the mmio twin's"
    assert found[0].traits.kind == COUNTER
    assert found[0].traits.resolution == pytest.approx(2**-14, rel=1e-3), "the register's own step"
    assert found[0].traits.wraps_at_j == pytest.approx(2**32 / 2**14, rel=1e-5)


def test_a_counter_that_may_not_be_read_is_told_with_the_remedy(board, monkeypatch):
    zone(board, "intel-rapl:0", "package-0", 1)
    monkeypatch.setattr(os, "access", lambda path, mode: "energy_uj" not in str(path))
    offers, reasons = meters.discover(root=board.root)
    assert not offers
    assert len(reasons) == 1
    assert "udev rule" in reasons[0]


def test_an_ina226_reads_its_power_register(board):
    chip = "sys/class/hwmon/hwmon2"
    files(board, chip, name="ina226", in0_input=1, in1_input=5012, curr1_input=803, power1_input=4_025_000)
    files(board, chip, shunt_resistor=10_000, update_interval=20)
    (meter,) = Hwmon().find("", board.root)
    assert (meter.traits.name, meter.traits.boundary, meter.traits.kind) == ("hwmon:ina226", "board", POWER)
    assert meter.traits.rate_hz == 50
    # 2.5 µV over 10 mOhm are 0.25 mA, and the power counts in 25 of them.
    assert meter.traits.resolution == pytest.approx(6.25e-3)
    (reading,) = meter.read()
    assert reading.value == pytest.approx(4.025)
    assert reading.within_ns >= 10_000_000, "the conversion that it shows ended up to 20 ms ago"


def test_a_chip_without_a_power_register_is_voltage_times_current(board):
    files(board, "sys/class/hwmon/hwmon0", name="ina238", in1_input=12_000, curr1_input=-250)
    (meter,) = Hwmon().find("wall", board.root)
    assert values(meter) == [pytest.approx(-3.0)], "a shunt the wrong way round is not made right in silence"
    assert meter.traits.boundary == "wall"


def ina3221(board, labels, place="hwmon1"):
    chip = f"sys/class/hwmon/{place}"
    files(board, chip, name="ina3221")
    for number, label in enumerate(labels, 1):
        content = {f"in{number}_input": 5000, f"curr{number}_input": 100 * number, f"in{number}_label": label}
        files(board, chip, **content, **{f"in{number}_enable": 1, f"shunt{number}_resistor": 5000})
        # Shunt voltages, which are no rails.
        files(board, chip, **{f"in{number + 3}_input": 1})
    files(board, chip, in7_input=6, in7_label="sum of shunt voltages")


def test_an_ina3221_has_rails_and_their_sum(board):
    ina3221(board, ["CPU", "GPU", "DDR"])
    found = Hwmon().find("", board.root)
    assert {m.traits.name: round(values(m)[0], 6) for m in found} == {
        "hwmon:ina3221:sum": 3.0,
        "hwmon:ina3221:CPU": 0.5,
        "hwmon:ina3221:GPU": 1.0,
        "hwmon:ina3221:DDR": 1.5,
    }
    assert {m.traits.boundary for m in found} == {"rails"}
    assert found[1].traits.resolution == pytest.approx(40e-6 / 5e-3 * 5)


def test_a_jetsons_input_channel_is_the_board_and_in_no_sum(board):
    ina3221(board, ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"])
    found = Hwmon().find("", board.root)
    assert [(m.traits.name, m.traits.boundary) for m in found[:2]] == [
        ("hwmon:ina3221:VDD_IN", "board"),
        ("hwmon:ina3221:sum", "rails"),
    ]
    assert values(found[1]) == [pytest.approx(2.5)]


def test_a_disabled_channel_is_left_out_and_two_chips_are_told_apart(board):
    for place in ("hwmon1", "hwmon4"):
        ina3221(board, ["A", "B"], place)
    board.write("sys/class/hwmon/hwmon4/in2_enable", 0)
    names = [m.traits.name for m in Hwmon().find("", board.root)]
    assert "hwmon:hwmon1:ina3221:sum" in names
    assert "hwmon:hwmon4:ina3221" in names, "one channel is left there"


def test_other_sensors_are_no_meters(board):
    files(board, "sys/class/hwmon/hwmon0", name="amdgpu", power1_input=1)
    files(board, "sys/class/hwmon/hwmon1", name="rpi_volt", in0_lcrit_alarm=0)
    assert Hwmon().find("", board.root) == []
    with pytest.raises(MeterError, match="known are wall, board, soc, rails"):
        Hwmon().find("planet", board.root)


def test_an_unreadable_chip_says_so(board):
    files(board, "sys/class/hwmon/hwmon0", name="ina219", power1_input="")
    (meter,) = Hwmon().find("", board.root)
    assert "no whole number" in meter.problem()
    with pytest.raises(MeterError):
        meter.read()


def test_the_pis_rails_are_added_up():
    assert pmic.watts(PMIC) == pytest.approx(PMIC_W)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("", "no rail"),
        ('error=1 error_msg="Command not registered"', "no rail"),
        (PMIC[: PMIC.index("VDD_CORE_V")], "torn: no voltage of VDD_CORE"),
        (PMIC.replace("current(1)=0.05660000A", "current(1)=0.05660000V"), "in V where A"),
    ],
)
def test_a_torn_answer_is_no_power(answer, words):
    with pytest.raises(MeterError, match=words):
        pmic.watts(answer)


def program(board, text):
    path = board.root / "usr/bin/vcgencmd"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_firmwares_program_is_asked(board):
    assert Pmic().find("", board.root) == []
    (board.root / "answer").write_text(PMIC)
    program(board, f"[ $1 = pmic_read_adc ] && cat {board.root}/answer")
    (meter,) = Pmic().find("", board.root)
    assert values(meter) == [pytest.approx(PMIC_W)]
    assert meter.traits.boundary == "rails"


def test_a_pi_without_the_chip_has_no_meter_and_one_without_the_right_says_so(board):
    program(board, "echo 'error=1 error_msg=\"Command not registered\"'")
    assert Pmic().find("", board.root) == []
    (board.root / "usr/bin/vcgencmd").write_text(
        "#!/bin/sh\necho 'VCHI initialization failed' >&2; exit 255\n"
    )
    (meter,) = Pmic().find("", board.root)
    assert "group video" in meter.problem()


def battery(board, name="BAT0", **content):
    folder = f"sys/class/power_supply/{name}"
    files(board, folder, **({"type": "Battery", "status": "Discharging"} | content))


@pytest.mark.parametrize(
    ("content", "watts"),
    [
        ({"power_now": 7_890_000}, 7.89),
        ({"current_now": 1_000_000, "voltage_now": 11_400_000}, 11.4),
        ({"current_now": -1_000_000, "voltage_now": 11_400_000}, 11.4),
        ({"power_now": -5_000_000, "current_now": 1, "voltage_now": 1}, 5.0),
    ],
)
def test_a_battery_in_either_unit_and_sign(board, content, watts):
    battery(board, **content)
    (meter,) = Battery().find("", board.root)
    assert values(meter) == [pytest.approx(watts)]
    assert meter.traits.coarse


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown"])
def test_a_battery_that_does_not_discharge_is_no_meter(board, status):
    battery(board, status=status, power_now=7_890_000)
    offers, reasons = meters.discover(root=board.root)
    assert not offers
    assert "unplug" in reasons[0]


def test_what_is_no_battery_of_this_device(board):
    battery(board, "mouse", scope="Device", power_now=1)
    battery(board, "empty-bay", present=0)
    files(board, "sys/class/power_supply/AC", type="Mains", online=1)
    assert Battery().find("", board.root) == []
    battery(board, "BAT1")
    (meter,) = Battery().find("", board.root)
    assert "neither power nor current" in meter.problem()


def test_meters_are_told_best_first(board):
    zone(board, "intel-rapl:0", "package-0", 1)
    battery(board, power_now=7_890_000)
    files(board, "sys/class/hwmon/hwmon2", name="ina226", power1_input=1)
    facts = identity.facts(root=board.root)
    assert [meter["name"] for meter in facts["device"]["meters"]] == [
        "hwmon:ina226",
        "rapl:package-0",
        "battery:BAT0",
    ]
    asked, _ = meters.discover(["battery"], board.root)
    assert asked[0].name == "battery:BAT0"
    told = [each.text for each in check.look(facts, [0], 1, board.root) if each.rule == "meter"]
    assert told[0] == "hwmon:ina226 sees the board, 20 readings a second"
    assert "coarse" in told[2]


def test_a_device_without_any_is_still_fit(board):
    facts = identity.facts(root=board.root, extra_meters=["rapl", "no.such:Thing"])
    told = [each for each in check.look(facts, [0], 1, board.root) if each.rule == "meter"]
    assert all(each.passed for each in told)
    assert "deploy/README.md" in told[0].text
    assert "finds no instrument here" in told[1].text
    assert "no.such" in told[2].text


def test_a_meter_is_found_again_by_its_name(board):
    zone(board, "intel-rapl:0", "package-0", 1)
    path = "hilnas_agent.meters.rapl:Rapl"
    assert values(meters.find(path, "", "rapl:package-0", board.root)) == [pytest.approx(1e-6)]
    with pytest.raises(MeterError, match="gone; its driver finds: rapl:package-0"):
        meters.find(path, "", "rapl:psys", board.root)
