"""Bench instruments, phones and plugs: recorded text, byte streams through the makers' own libraries, real HTTP."""

import json
import os
import pty
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest

from hilnas_agent import meters
from hilnas_agent.meters import MeterError, android, shelly
from hilnas_agent.meters.joulescope import Joulescope, Statistics
from hilnas_agent.meters.own_clock import Offset
from hilnas_agent.meters.ppk2 import Decoder, Ppk2
from hilnas_agent.meters.recording import Recording
from hilnas_agent.meters.shelly import Shelly
from tests.unit.agent.fake_host import wait_until

# energy_value of a Pixel 6's first chip, shortened.
ODPM = """\
t=358356
CH0(T=358356)[S1M_VDD_CPUCL2], 1500000
CH1(T=358356)[S2M_VDD_CPUCL1], 250000
CH2(T=358356)[VSYS_PWR_MODEM], 0
"""
OLDER = "t=9141\nCH0[S10M_VDD_TPU], 4\nCH1[VSYS_PWR], 6\n"
METADATA = "Calibrated: 0\nR0: 1031.64\nR1: 101.65\nR2: 10.15\nR3: 0.94\nR4: 0.043\nHW: 9173\nIA: 56\nEND\n"


class Phone:
    """A shell that answers with what the test gives it, some ms later by its own clock."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def __call__(self, command):
        self.asked.append(command)
        return self.answer(command) if callable(self.answer) else self.answer


def test_the_rails_of_a_phone_are_added_up():
    assert android.rails(ODPM) == (358_356_000_000, pytest.approx(1.75))
    assert android.rails(OLDER) == (9_141_000_000, pytest.approx(10e-6))
    both = ODPM + ODPM.replace("358356", "358357")
    assert android.rails(both) == (358_357_000_000, pytest.approx(3.5)), "two chips"


@pytest.mark.parametrize(
    "content", ["", "cat: No such file", "t=12\n", ODPM[:-12], ODPM.replace(", 250000", ", ")]
)
def test_a_torn_list_of_rails_is_no_energy(content):
    with pytest.raises(MeterError, match="android-odpm"):
        android.rails(content)


def test_a_phones_clock_is_its_own():
    ahead_ms = 5_000_000
    phone = Phone(lambda _: ODPM.replace("t=358356", f"t={time.monotonic_ns() // 1_000_000 + ahead_ms}"))
    rails = android.Rails(phone)
    rails.open()
    assert len(phone.asked) >= 8
    before = time.monotonic_ns()
    (reading,) = rails.read()
    after = time.monotonic_ns()
    assert reading.value == pytest.approx(1.75)
    # The phone tells whole ms.
    assert before - reading.within_ns - 2_000_000 <= reading.clock_ns <= after + reading.within_ns + 2_000_000


def test_the_quickest_answer_tells_the_offset():
    offset = Offset()
    for before, theirs, after in ((0, 1_000_300, 900), (5000, 1_005_010, 5020), (7000, 1_007_400, 7900)):
        offset.ping(before, theirs, after)
    assert (offset.ours_ns(1_005_010), offset.within_ns) == (5010, 10)


@pytest.mark.parametrize(
    ("content", "unit", "watts"),
    [
        ("Discharging\n-512000\n3900000\n", "", 0.512 * 3.9),
        ("Discharging\n512000\n3900000\n", "", 0.512 * 3.9),
        ("Discharging\n512\n3900000\n", "mA", 0.512 * 3.9),
        ("Discharging\n9000\n3900000\n", "uA", 0.009 * 3.9),
    ],
)
def test_a_phones_battery_in_either_unit_and_sign(content, unit, watts):
    (reading,) = android.Gauge(Phone(content), unit).read()
    assert reading.value == pytest.approx(watts)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Charging\n512000\n3900000\n", "unplug"),
        ("Not charging\n512000\n3900000\n", "unplug"),
        ("Discharging\n512\n3900000\n", "android-battery=SERIAL,mA"),
        ("Discharging\n\n3900000\n", "answer is none"),
        ("", "answer is none"),
    ],
)
def test_a_gauge_that_may_mean_anything_is_refused(content, words):
    with pytest.raises(MeterError, match=words):
        android.battery_watts(content)


def test_a_phone_is_reached_by_adb_and_only_when_named(tmp_path, monkeypatch):
    assert android.Odpm().find("", tmp_path) == []
    assert android.AndroidBattery().find("", tmp_path) == []
    adb = tmp_path / "adb"
    adb.write_text(
        '#!/bin/sh\n[ "$1 $2 $3" = "-s 1A2B shell" ] || { echo "device not found" >&2; exit 1; }\n'
        f"case \"$4\" in *energy_value*) cat {tmp_path}/odpm;; *) printf 'Discharging\\n-400000\\n4000000\\n';; esac\n"
    )
    adb.chmod(0o755)
    (tmp_path / "odpm").write_text(ODPM)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    offers, _ = meters.discover(["android-odpm=1A2B", "android-battery=1A2B"], tmp_path)
    assert [(offer.name, offer.boundary, offer.coarse) for offer in offers] == [
        ("android-odpm", "rails", False),
        ("android-battery", "board", True),
    ]
    _, reasons = meters.discover(["android-odpm=other"], tmp_path)
    assert "device not found" in reasons[0]
    with pytest.raises(MeterError, match="mA or uA"):
        android.AndroidBattery().find("1A2B,A", tmp_path)


class Kit:
    """A PPK2 at the other end of a serial line: tells its calibration, then is left alone."""

    def __init__(self):
        self.ours, theirs = pty.openpty()
        self.port = os.ttyname(theirs)
        self._theirs = theirs
        self.heard = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        try:
            while content := os.read(self.ours, 64):
                self.heard += content
                if b"\x19" in content:
                    os.write(self.ours, METADATA.encode())
        except OSError:
            pass

    def close(self):
        os.close(self._theirs)


@pytest.fixture
def kit():
    pytest.importorskip("ppk2_api", reason="extra ppk2")
    made = Kit()
    yield made
    made.close()


def words(count, adc, range_=3, first=0):
    """Samples as the kit sends them, counted from `first`."""
    return b"".join(
        (adc | range_ << 14 | ((first + k) & 63) << 18).to_bytes(4, "little") for k in range(count)
    )


def microamperes(adc, ohm=0.94):
    """What the calibration above makes of a reading in range 3 (Nordic's formula)."""
    return adc * 4 * (1.8 / 163840) / ohm * (1 + adc * 4 * (1.8 / 163840) / ohm) * 1e6


@pytest.fixture
def decoder(kit):
    from ppk2_api.ppk2_api import PPK2_API

    api = PPK2_API(kit.port, timeout=1)
    assert api.get_modifiers()
    api.set_source_voltage(5000)
    return Decoder(api, 5000)


def test_the_kits_samples_become_power(decoder):
    readings = decoder.add(words(2500, 400), 100_000_000_000)
    readings += decoder.add(words(600, 400, first=2500), 100_006_000_000)
    assert len(readings) == 3
    watts = microamperes(400) * 1e-6 * 5
    assert [reading.value for reading in readings] == [pytest.approx(watts, rel=1e-6)] * 3
    assert decoder.lost == 0, "the count starts again every 64 samples"
    # 2500 samples take 25 ms, and the first block's middle is 20 ms before their end.
    assert readings[0].clock_ns == 100_000_000_000 - 20_000_000
    assert readings[1].clock_ns - readings[0].clock_ns == 10_000_000


def test_bytes_that_come_in_pieces_are_the_same(decoder):
    content = words(2000, 400)
    readings = []
    for at in range(0, len(content), 1237):
        readings += decoder.add(content[at : at + 1237], 10**11)
    assert len(readings) == 2
    assert decoder.lost == 0


@pytest.mark.parametrize("missing", [4, 40, 1, 2, 3, 401])
def test_samples_or_bytes_that_are_lost_leave_a_gap_and_no_value(decoder, missing):
    content = words(5000, 400)
    torn = content[:6001] + content[6001 + missing :]
    readings = decoder.add(torn, 10**11)
    assert decoder.lost >= 1
    assert len(readings) == 4, "the block that was torn is given up"
    assert {round(reading.value, 9) for reading in readings} == {round(microamperes(400) * 5e-6, 9)}


def test_more_than_the_kit_can_measure_is_an_error(decoder):
    with pytest.raises(MeterError, match="beyond"):
        decoder.add(words(1000, 0x3FFF, range_=4), 10**11)


def test_a_kit_is_opened_by_its_own_library(kit, tmp_path):
    (meter,) = Ppk2().find(f"{kit.port},3300", tmp_path)
    assert meter.problem() is None
    # It was left running by another process.
    os.write(kit.ours, words(200, 100))
    meter.open()
    try:
        os.write(kit.ours, words(1000, 100))
        readings, ends_at = [], time.monotonic() + 20
        while not readings and time.monotonic() < ends_at:
            readings = meter.read()
            time.sleep(0.01)
        assert readings[0].value == pytest.approx(microamperes(100) * 3.3e-6, rel=1e-6)
    finally:
        meter.close()
    assert b"\x11\x01" in kit.heard, "it was made an ampere meter"
    meter.close()


def test_a_kit_is_read_by_a_process_of_its_own_and_left_as_it_was_found(kit):
    recording = Recording("hilnas_agent.meters.ppk2:Ppk2", f"{kit.port},5000", "ppk2")
    readings, ends_at = [], time.monotonic() + 20
    try:
        os.write(kit.ours, words(1000, 400))
        while not readings and time.monotonic() < ends_at:
            readings, problem = recording.take()
            assert not problem
            time.sleep(0.02)
    finally:
        recording.close()
    assert readings[0].value == pytest.approx(microamperes(400) * 5e-6, rel=1e-6)
    assert wait_until(lambda: kit.heard.endswith(b"\x07")), "it was told to stop"


def test_what_the_kit_needs_is_asked_for(tmp_path):
    assert Ppk2().find("", tmp_path) == []
    with pytest.raises(MeterError, match="supply too"):
        Ppk2().find("/dev/ttyACM0", tmp_path)
    pytest.importorskip("ppk2_api", reason="extra ppk2")
    (meter,) = Ppk2().find("/dev/nothing,5000", tmp_path)
    assert "there is no /dev/nothing" in meter.problem()


def message(end, joules):
    """The library's message, by its own `statistics` command, without what is not read."""
    return {
        "time": {"samples": {"value": [end - 20_000, end]}, "sample_freq": {"value": 1_000_000}},
        "accumulators": {"energy": {"value": joules, "units": "J"}},
    }


def test_a_joulescopes_energy_is_dated_by_its_own_samples():
    statistics = Statistics()
    for k in range(1, 6):
        statistics.add("u/js220/000123/s/stats/value", message(20_000 * k, 0.1 * k))
    statistics.add("u/js220/000123/s/stats/value", message(120_000, float("nan")))
    readings = statistics.take()
    assert [reading.value for reading in readings] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    apart = [b.clock_ns - a.clock_ns for a, b in pairwise(readings)]
    # Later than it happened by what the message took, earlier never.
    assert all(gap <= 20_010_000 for gap in apart)
    assert statistics.take() == []


def test_a_joulescope_that_is_not_attached(tmp_path):
    assert Joulescope().find("", tmp_path) == []
    with pytest.raises(MeterError, match="js220"):
        Joulescope().find("js999", tmp_path)
    pytest.importorskip("pyjoulescope_driver", reason="extra joulescope")
    (meter,) = Joulescope().find("u/js220/nobody-has-this", tmp_path)
    assert meter.problem() is None
    try:
        with pytest.raises(MeterError, match="attach it"):
            meter.open()
    finally:
        meter.close()


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        page = self.server.pages.get(self.path)
        self.send_response(404 if page is None else 200)
        self.end_headers()
        self.wfile.write(page.encode() if page else b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def plug():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    server.pages = {}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def found(plug, tmp_path):
    (meter,) = Shelly().find(f"http://127.0.0.1:{plug.server_port}/", tmp_path)
    return meter


def test_a_plug_of_the_second_generation_counts_energy(plug, tmp_path):
    status = {"id": 0, "output": True, "apower": 3.4, "aenergy": {"total": 11.679, "by_minute": [0, 1, 2]}}
    plug.pages["/rpc/Switch.GetStatus?id=0"] = json.dumps(status)
    meter = found(plug, tmp_path)
    assert [reading.value for reading in meter.read()] == [pytest.approx(11.679 * 3600)]
    assert (meter.traits.kind, meter.traits.boundary) == ("counter", "wall")
    assert meter.traits.canary_only


def test_a_plug_of_the_first_generation_tells_power(plug, tmp_path):
    plug.pages["/meter/0"] = '{"power": 12.7, "is_valid": true, "total": 123}'
    meter = found(plug, tmp_path)
    assert [reading.value for reading in meter.read()] == [pytest.approx(12.7)]
    assert meter.traits.kind == "power"
    plug.pages["/meter/0"] = '{"power": 12.7, "is_valid": false}'
    with pytest.raises(MeterError, match="invalid"):
        meter.read()


@pytest.mark.parametrize("page", ["no JSON", "[]", "{}", '{"aenergy": {"total": "much"}}'])
def test_a_plug_that_answers_with_something_else(plug, tmp_path, page):
    plug.pages["/rpc/Switch.GetStatus?id=0"] = page
    assert found(plug, tmp_path).problem()


def test_a_plug_is_named_by_an_address(tmp_path):
    assert Shelly().find("", tmp_path) == []
    for argument in ("192.0.2.7", "file:///etc/passwd", "http://"):
        with pytest.raises(MeterError, match=r"http://192\.0\.2\.7"):
            Shelly().find(argument, tmp_path)
    with pytest.raises(MeterError, match="no meter"):
        shelly.watts({"relays": []})
