"""What a phone says of itself, over a link that repeats what phones have said."""

import re

import pytest

from hilnas_agent import conditions, cores
from hilnas_agent.evidence import failed
from hilnas_agent.phones import adb, facts, fitness, states
from hilnas_agent.phones.adb import AdbMissingError, Finished, LinkError
from hilnas_agent.phones.mirror import (
    Battery,
    Mirror,
    State,
    parse_battery,
    parse_properties,
    parse_thermal,
)

DEVICES = """14131FDF600073         device usb:1-2 product:oriole model:Pixel_6 device:oriole transport_id:4
R58M123ABC\tunauthorized usb:1-3 transport_id:5
emulator-5554          offline transport_id:6
????????????           no permissions (missing udev rules? user is in the plugdev group); see [http://developer.android.com/tools/device.html] usb:1-4 transport_id:7
192.168.1.7:5555       authorizing transport_id:8
"""
THERMAL = """IsStatusOverride: false
Thermal Status: 2
Cached temperatures:
\tTemperature{mValue=99.0, mType=0, mName=old, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=41.5, mType=0, mName=cpu0, mStatus=0}
\tTemperature{mValue=44.25, mType=0, mName=cpu7, mStatus=1}
\tTemperature{mValue=60.0, mType=2, mName=battery, mStatus=0}
\tTemperature{mValue=-274.0, mType=0, mName=absent, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=95, mType=0, mName=fan}
"""
PIXEL_KHZ = (1_803_000,) * 4 + (2_253_000,) * 2 + (2_802_000,) * 2


class Recorded:
    """A link on which every command gets the same answer."""

    serial = "X1"

    def __init__(self, text):
        self.text = text

    def run(self, command, timeout_s=0):
        return Finished(0, self.text.encode(), b"")


def section(name, text):
    return f"==> hilnas {name}\n{text}\n"


def pixel(**more):
    files = {"/sys/devices/system/cpu/online": "0-7"}
    for cpu, khz in enumerate(PIXEL_KHZ):
        place = f"/sys/devices/system/cpu/cpu{cpu}"
        files |= {
            f"{place}/cpufreq/cpuinfo_max_freq": khz,
            f"{place}/cpufreq/scaling_max_freq": khz,
            f"{place}/cpufreq/scaling_cur_freq": khz // 2,
            f"{place}/cpufreq/scaling_governor": "sched_pixel",
        }
    text = "".join(section(name, value) for name, value in files.items())
    text += section("uname", "5.10.149-android13 aarch64")
    text += section(
        "getprop",
        "[ro.product.model]: [Pixel 6]\n[ro.soc.model]: [Tensor]\n[ro.product.manufacturer]: [Google]",
    )
    return text + "".join(section(name, value) for name, value in more.items())


def mirrored(tmp_path, text):
    mirror = Mirror(Recorded(text), tmp_path / "mirror")
    mirror.read_static()
    return mirror, mirror.refresh()


def test_what_adb_lists():
    found = adb.parse_devices(DEVICES)
    assert [(seen.serial, seen.state.split(" (")[0]) for seen in found] == [
        ("14131FDF600073", "device"),
        ("R58M123ABC", "unauthorized"),
        ("emulator-5554", "offline"),
        ("????????????", "no permissions"),
        ("192.168.1.7:5555", "authorizing"),
    ]
    assert found[0].model == "Pixel 6"
    assert [seen.ready for seen in found] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("unauthorized", "accept the dialog"),
        ("offline", "adb reconnect"),
        ("no permissions (user in plugdev group)", "udev"),
        ("recovery", "adb reboot"),
        ("some new state", "adb devices -l"),
    ],
)
def test_every_state_but_one_has_a_remedy(state, words):
    assert words in states.remedy(state)
    assert not states.remedy("device")


@pytest.mark.parametrize("address", ["nowhere", ":5037", "host:", "host:0", "host:99999", "host:x"])
def test_addresses_that_are_none(address):
    with pytest.raises(AdbMissingError, match="HOST:PORT"):
        adb.parse_address(address)


def test_the_fastest_cluster_measures(tmp_path):
    mirror, _ = mirrored(tmp_path, pixel())
    assert mirror.cpus() == list(range(8))
    measuring, serving = cores.share_out(mirror.cpus(), mirror.root)
    assert (measuring, serving) == ([6, 7], [4, 5, 0, 1, 2, 3])
    assert cores.pinned(measuring, 1) == [7]
    reading = conditions.read(mirror.root, [7])
    assert (reading.governor, reading.target_khz, reading.frequency_khz) == (
        "sched_pixel",
        2_802_000,
        1_401_000,
    )


def test_the_class_says_that_a_hub_drives_the_phone(tmp_path):
    mirror, _ = mirrored(tmp_path, pixel())
    assert facts.device_class(mirror.properties, "", mirror.machine) == "pixel-6-tensor-adb"
    assert facts.device_class(
        {"ro.product.model": "SM-G991B", "ro.board.platform": "exynos2100"}, "", ""
    ) == ("sm-g991b-exynos2100-adb")
    assert facts.device_class({}, "Cortex-A78", "aarch64") == "aarch64-cortexa78-adb"
    described = facts.describe(mirror)
    assert (described["board_model"], described["machine"], described["cores"]) == (
        "Google Pixel 6",
        "aarch64",
        8,
    )


def test_a_phone_writes_nowhere_but_below_its_mirror(tmp_path):
    bad = ("/sys/../../../escape", "/proc/../../escape", "/etc/passwd", "../escape", "/sys/a b", "")
    mirrored(tmp_path, pixel() + "".join(section(name, "bad") for name in bad))
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "bad" in path.read_text()]


@pytest.mark.parametrize("online", ["", "none", "x-y"])
def test_a_phone_that_hides_its_processors(tmp_path, online):
    mirror, _ = mirrored(tmp_path, section("/sys/devices/system/cpu/online", online))
    with pytest.raises(LinkError, match="processors"):
        mirror.cpus()


def test_processors_without_end_are_not_counted(tmp_path):
    mirror, _ = mirrored(tmp_path, section("/sys/devices/system/cpu/online", "0-99999999999"))
    assert len(mirror.cpus()) == 1024


def test_the_thermal_service_stands_in_for_hidden_zones(tmp_path):
    mirror, state = mirrored(tmp_path, pixel(thermal=THERMAL))
    assert state.thermal_status == 2
    assert conditions.hottest_c(mirror.root) == 44.25
    seen = section("/sys/class/thermal/thermal_zone0/temp", "39000")
    mirror, _ = mirrored(tmp_path, pixel() + seen + section("thermal", THERMAL))
    assert conditions.hottest_c(mirror.root) == 39


@pytest.mark.parametrize("end", range(0, len(THERMAL), 7))
def test_torn_thermal_reports(end):
    status, hottest = parse_thermal(THERMAL[:end])
    assert status in (None, 2)
    assert hottest in (None, 41.5, 44.25)


def test_the_battery():
    text = "Current Battery Service state:\n  AC powered: false\n  USB powered: true\n  status: 2\n  level: 43\n  scale: 50\n"
    assert parse_battery(text + "  temperature: 281\n") == Battery(86, 28.1, True, ("USB",))
    assert parse_battery("") == Battery()
    assert parse_battery("  level: 9999\n  temperature: -99999\n  status: full\n") == Battery()


def test_properties():
    assert parse_properties("[a.b]: [c d]\nnoise\n[e]: []\n") == {"a.b": "c d", "e": ""}


def test_what_would_spoil_a_figure():
    hot = State(Battery(12, 43.0, True, ("AC",)), 3)
    broken = {each.rule: each.text for each in failed(fitness.checks(hot))}
    assert set(broken) == {"throttled", "charging", "battery", "battery-temperature"}
    assert "severe" in broken["throttled"]
    assert "AC" in broken["charging"]
    assert not failed(fitness.checks(State(Battery(85, 28.0, False, ("USB",)), 0)))


def test_what_android_does_not_tell_passes_and_says_so():
    found = fitness.checks(State())
    assert not failed(found)
    assert all(re.search("not checked", each.text) for each in found)
