"""What this search ran with: versions that a result must name to be repeated."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hilnas import __version__

_PACKAGES = ("torch", "numpy", "ai-edge-litert", "tflite-runtime", "grpcio", "protobuf")


def versions() -> dict[str, str | None]:
    """Return the versions of hilnas, Python and what shapes results, and the git commit if there is one."""
    found: dict[str, str | None] = {"hilnas": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return {**found, "machine": platform.machine(), "git_commit": git_commit()}


def git_commit() -> str | None:
    """Return the commit of the checkout that hilnas runs from, "+dirty" where it is changed; else None."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if not git("ls-files", "--", __file__):
            return None
        commit = git("rev-parse", "HEAD")
        return f"{commit}+dirty" if git("status", "--porcelain", "--untracked-files=no") else commit or None
    except (OSError, subprocess.TimeoutExpired):
        return None
