"""A phone's shell: over adb from a hub, or this machine's own in Termux."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from hilnas_agent.meters import MeterError

Shell = Callable[[str], str]
"""Runs a command on the phone and returns what it printed; MeterError when it fails."""

_PATIENCE_S = 5.0


def reach(serial: str, root: Path) -> Shell | None:
    """The shell of the phone with that adb serial number; without one this machine's, if it is a phone."""
    if serial:
        adb = shutil.which("adb")
        if adb is None:
            raise MeterError(f"the phone {serial} cannot be reached: install adb")
        return lambda command: run([adb, "-s", serial, "shell", command])
    if not (root / "system/build.prop").exists():
        return None
    return lambda command: run(["sh", "-c", command])


def run(command: Sequence[str]) -> str:
    """What a command prints; MeterError when it fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise MeterError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        words = " ".join((done.stderr or done.stdout).split())[:200]
        raise MeterError(f"the phone does not answer ({words}): see adb devices")
    return done.stdout
