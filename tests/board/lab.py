"""The board lab: a Debian board of another architecture, with ssh, its own network, and an agent installed.

Root file systems lie in the lab's cache directory ($BOARD_LAB) and are built once: about a minute for
amd64, six for an emulated one. What a board needs to run the agent is brought as wheels, as to a board
without internet, and kept in its root file system under a name that its constraints give.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("BOARD_LAB", Path.home() / ".cache/board-lab"))
MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l"}
NEEDED = (
    *("ai-edge-litert", "tflite-runtime", "numpy", "grpcio", "protobuf", "typing_extensions"),
    *("flatbuffers", "backports.strenum", "tqdm"),
)
LARGE = ("ai-edge-litert", "numpy", "flatbuffers", "backports.strenum", "tqdm")
"""What a 32-bit board does not have from wheels."""
TOOLS = ("ip", "iptables", "ssh", "unshare", "chroot")


def scripts() -> Path | None:
    """Where the lab's scripts lie: beside the repository, or beside a folder further up."""
    places = [Path(os.environ["BOARD_LAB_SCRIPTS"])] if "BOARD_LAB_SCRIPTS" in os.environ else []
    places += [parent / "shared/lab" for parent in ROOT.parents]
    return next((place for place in places if (place / "board.sh").exists()), None)


def missing(architecture: str) -> str:
    """Why there can be no board of that architecture here; empty when there can."""
    if os.geteuid() != 0:
        return "the board lab needs root"
    if scripts() is None:
        return "the board lab (../shared/lab) is not here"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian's iproute2, iptables, openssh-client)"
    asked = os.environ.get("HILNAS_BOARDS", "").split(",")
    if architecture not in asked and not (CACHE / f"{architecture}-rootfs/.board-ready").exists():
        return (
            f"no {architecture} board is built yet: HILNAS_BOARDS={architecture} builds it, in some minutes"
        )
    return ""


def lab(*words: str) -> str:
    """Runs a script of the lab; its output."""
    folder = scripts()
    assert folder is not None
    done = subprocess.run(
        ["bash", str(folder / words[0]), *words[1:]], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-2000:]}"
    return done.stdout


def root_file_system(architecture: str) -> Path:
    """A root file system in which /opt/hilnas-<digest> is an environment with all that an agent needs."""
    folder = CACHE / f"{architecture}-rootfs"
    if not (folder / ".board-ready").exists():
        lab("make_board.sh", architecture)
    place = environment_of(architecture)
    if not (folder / place / "ready").exists():
        _install(folder, place, architecture)
    return folder


def environment_of(architecture: str) -> str:
    """Name of the environment, without a leading slash: that of what is installed in it."""
    pinned = " ".join([architecture, *wanted(architecture)])
    return f"opt/hilnas-{hashlib.sha256(pinned.encode()).hexdigest()[:12]}"


def wanted(architecture: str) -> list[str]:
    """What an agent needs beside the interpreter's own, pinned as constraints.txt has it."""
    # 32-bit ARM: Debian's NumPy, and tflite-runtime alone (see pyproject.toml).
    small = architecture == "armhf"
    names = [name for name in NEEDED if not (small and name in LARGE)]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    return [f"{name}=={pins[name]}" if name in pins else name for name in names]


def _install(folder: Path, place: str, architecture: str) -> None:
    machine, wheels = MACHINES[architecture], CACHE / "hilnas-wheels" / Path(place).name
    wheels.mkdir(parents=True, exist_ok=True)
    platforms = [
        part
        for tag in (
            "manylinux2014",
            "manylinux_2_17",
            "manylinux_2_27",
            "manylinux_2_28",
            "manylinux_2_34",
            "linux",
        )
        for part in ("--platform", f"{tag}_{machine}")
    ]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "--no-deps", *platforms,
         "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none",
         "-d", str(wheels), *wanted(architecture)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    inside = folder / "var/tmp/hilnas-wheels"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(wheels, inside)
    try:
        options = ["--system-site-packages"] if architecture == "armhf" else []
        _chroot(folder, "python3", "-m", "venv", *options, f"/{place}")
        files = [f"/var/tmp/hilnas-wheels/{wheel.name}" for wheel in sorted(inside.glob("*.whl"))]
        _chroot(folder, f"/{place}/bin/pip", "install", "-q", "--no-index", "--no-deps", *files)
    finally:
        shutil.rmtree(inside, ignore_errors=True)
    (folder / place / "ready").touch()


def _chroot(folder: Path, *words: str) -> None:
    # The host's PIP_* variables must not leak into the board.
    done = subprocess.run(
        ["chroot", str(folder), "env", "-i", "PATH=/usr/bin:/bin", "HOME=/root", *words],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(words[:4])}: {done.stderr[-2000:]}"


class Board:
    """A board that is powered on; `ssh` runs commands on it as the user pi."""

    def __init__(self, architecture: str, number: int) -> None:
        self.architecture = architecture
        self.name, self.address = f"hilnas-{architecture}", f"10.77.0.{100 + number}"
        self.python = f"/{environment_of(architecture)}/bin/python"
        folder = root_file_system(architecture)
        lab("board.sh", "up", self.name, str(folder), self.address)
        # XNNPACK gives up where the kernel does not list its processors.
        for name in ("present", "possible"):
            (CACHE / "boards" / self.name / "sys/devices/system/cpu" / name).write_text("0-3\n")

    def off(self) -> None:
        """Powers it off and removes it."""
        lab("board.sh", "down", self.name)

    def command(self, *words: str, forward: int = 0) -> list[str]:
        """The ssh command line for words on the board; `forward`: a port of loopback that leads back here."""
        options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ExitOnForwardFailure=yes",
        ]
        back = ["-R", f"{forward}:127.0.0.1:{forward}"] if forward else []
        return [
            "ssh", "-i", str(CACHE / "keys/id_ed25519"), *(part for option in options for part in ("-o", option)),
            *back, f"pi@{self.address}", *words,
        ]  # fmt: skip

    def ssh(self, *words: str, content: bytes = b"") -> str:
        """Output of a command on the board, which is given `content` on standard input."""
        done = subprocess.run(self.command(*words), input=content, check=False, capture_output=True)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
        return done.stdout.decode()

    def bring_agent(self) -> None:
        """Copies the agent and the wire's modules to the board."""
        archive = subprocess.run(
            ["tar", "-C", str(ROOT), "-cz", "--exclude=__pycache__", "device_agent/hilnas_agent", "protos/hilnas_protos"],
            check=True, capture_output=True,
        )  # fmt: skip
        self.ssh("mkdir -p agent && tar -C agent -xz", content=archive.stdout)
