"""The board lab's phone, driven by Debian's real adb: a root of its own around this machine's programs.

The phone's shell sees a folder as its root: /usr and the like are this machine's, bound there in a mount
namespace that ends with the phone; /sys, /data and Android's commands are the phone's own.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PATIENCE_S = 30
HERE = Path(__file__).resolve()
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev", "/proc")

PROPERTIES = """[ro.product.manufacturer]: [Google]
[ro.product.model]: [Pixel 6]
[ro.soc.model]: [Tensor]
[ro.build.version.release]: [14]
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  status: 5
  level: 85
  scale: 100
  temperature: 281
"""
THERMAL = "IsStatusOverride: false\nThermal Status: 0\n"


def lab() -> Path | None:
    """Where the board lab lies: beside the repository, or a folder further up."""
    places = [Path(os.environ["BOARD_LAB_SCRIPTS"])] if "BOARD_LAB_SCRIPTS" in os.environ else []
    places += [parent / "shared/lab" for parent in HERE.parents]
    return next((place for place in places if (place / "fake_adbd.py").exists()), None)


def missing() -> str:
    """Why the lab's phone cannot be used here; empty when it can."""
    if os.geteuid() != 0:
        return "the board lab needs root"
    absent = [name for name in ("adb", "unshare", "mount") if shutil.which(name) is None]
    if absent:
        return f"{' and '.join(absent)} not installed (Debian's packages adb, util-linux, mount)"
    if lab() is None:
        return "the board lab (../shared/lab) is not here"
    return ""


def free_port() -> int:
    """A port of loopback that adb does not take for an emulator's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return port if not 5554 <= port <= 5586 else free_port()


class Adb:
    """An adb server of the test's own, with keys of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.environment = {
            **os.environ, "ANDROID_ADB_SERVER_PORT": str(self.port), "HOME": str(folder), "ADB_MDNS": "0",
        }  # fmt: skip

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ["adb", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.stdout + done.stderr

    def connect(self, phone: "Phone") -> None:
        self("connect", phone.serial)

    def stop(self) -> None:
        self("kill-server")


class Phone:
    """A phone's adb daemon on a port of its own, and what the phone says of itself."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.root, self.port, self._options = folder / "phone", free_port(), options
        self.serial = f"127.0.0.1:{self.port}"
        self.folder = self.root / "data/local/tmp/hilnas"
        self.cpus = sorted(os.sched_getaffinity(0))
        self._process: subprocess.Popen[bytes] | None = None
        for name, text in (
            ("getprop", PROPERTIES),
            ("dumpsys_battery", BATTERY),
            ("dumpsys_thermalservice", THERMAL),
        ):
            self.write(f"system/etc/{name}", text)
        self.write("system/bin/getprop", "#!/bin/sh\ncat /system/etc/getprop\n", 0o755)
        self.write("system/bin/dumpsys", '#!/bin/sh\ncat "/system/etc/dumpsys_$1"\n', 0o755)
        (self.root / "data/local/tmp").mkdir(parents=True)
        self.write("sys/devices/system/cpu/online", ",".join(map(str, self.cpus)) + "\n")
        for cpu in self.cpus:
            khz = 2_800_000 if cpu == self.cpus[-1] else 1_800_000
            for name in ("cpuinfo_max_freq", "scaling_max_freq", "scaling_cur_freq", "scaling_min_freq"):
                self.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/{name}", f"{khz}\n")
            self.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", "performance\n")
        self.heat(31.0)

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def heat(self, degrees: float) -> None:
        self.write("sys/class/thermal/thermal_zone0/temp", f"{round(degrees * 1000)}\n")

    def plug_in(self) -> "Phone":
        daemon = (lab() or Path()) / "fake_adbd.py"
        own = {str(HERE.parents[2]), sys.base_prefix, sys.prefix}
        places = [place for place in (*_SYSTEM, *sorted(own)) if Path(place).exists()]
        binds = [f"mkdir -p {self.root}{p} && mount --rbind {p} {self.root}{p}" for p in places]
        serve = (
            f"exec {sys.executable} {daemon} --port {self.port} --root {self.root} {' '.join(self._options)}"
        )
        script = " && ".join([*binds, serve])
        self._process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        ends_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends_at:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            assert self._process.poll() is None, "the phone's daemon did not start"
            time.sleep(0.02)
        raise AssertionError("the phone's daemon does not answer")

    def unplug(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def accept(self) -> "Phone":
        """Somebody accepts the dialog: the phone comes back authorized."""
        self._options = tuple(option for option in self._options if option != "--unauthorized")
        return self.plug_in()
