"""Every built-in meter that can be had without its instrument passes the contract, on recorded files."""

import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points

import pytest

from hilnas.testing import MeterContract

FILES = {
    "rapl": {
        "sys/class/powercap/intel-rapl:0/name": "package-0",
        "sys/class/powercap/intel-rapl:0/energy_uj": "262143328000",
        "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850",
    },
    "hwmon": {
        "sys/class/hwmon/hwmon0/name": "ina3221",
        **{f"sys/class/hwmon/hwmon0/in{n}_input": "5000" for n in (1, 2, 3)},
        **{f"sys/class/hwmon/hwmon0/curr{n}_input": "100" for n in (1, 2, 3)},
    },
    "battery": {
        "sys/class/power_supply/BAT0/type": "Battery",
        "sys/class/power_supply/BAT0/status": "Discharging",
        "sys/class/power_supply/BAT0/power_now": "7000000",
    },
    "pmic": {
        "usr/bin/vcgencmd": "#!/bin/sh\necho '  VDD_CORE_A current(7)=1.30A'\necho '  VDD_CORE_V volt(15)=0.87V'",
    },
}


def made(name):
    (entry,) = entry_points(group="hilnas_agent.meters", name=name)
    return entry.load()()


@pytest.mark.parametrize("name", list(FILES))
class TestFiles(MeterContract):
    @pytest.fixture
    def driver(self, name):
        return made(name)

    @pytest.fixture
    def root(self, name, tmp_path):
        for place, content in FILES[name].items():
            path = tmp_path / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")
            path.chmod(0o755)
        return tmp_path

    @pytest.fixture
    def advance(self, root):
        """The counter of RAPL goes on, over its end."""
        counter = root / "sys/class/powercap/intel-rapl:0/energy_uj"
        steps = itertools.count(1)

        def step():
            if counter.exists():
                counter.write_text(str((262143328000 + 500 * next(steps)) % 262143328851))

        return step


@pytest.mark.parametrize("name", ["android-odpm", "android-battery"])
class TestPhones(MeterContract):
    @pytest.fixture
    def driver(self, name):
        return made(name)

    @pytest.fixture
    def argument(self, tmp_path, monkeypatch):
        adb = tmp_path / "adb"
        adb.write_text(
            '#!/bin/sh\ncase "$4" in\n'
            '*energy_value*) echo "t=$(date +%s%3N)"; echo "CH0(T=1)[S1M], 7";;\n'
            "*) printf 'Discharging\\n-400000\\n4000000\\n';;\nesac\n"
        )
        adb.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return "1A2B"


class _Plug(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"apower": 3.4, "aenergy": {"total": 11.679}}).encode())

    def log_message(self, *_):
        pass


class TestShelly(MeterContract):
    @pytest.fixture
    def driver(self):
        return made("shelly")

    @pytest.fixture
    def argument(self):
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Plug)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()


def test_every_meters_entry_point_loads_without_its_library():
    for entry in entry_points(group="hilnas_agent.meters"):
        assert entry.load()().name == entry.name
