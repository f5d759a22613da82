"""The wheels that a board is brought: hilnas's own, and those that it needs, kept for the next board."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import Requirement

from hilnas.provision import own_wheel, requirements
from hilnas.provision.errors import ProvisionError
from hilnas.provision.platforms import Platform

_LIST = "wheels.json"
_TIMEOUT_S = 900.0
_ROUNDS = 10


@dataclass(frozen=True)
class Wheel:
    """A wheel file and its SHA-256, in hexadecimal digits."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Bundle:
    """All that a release is made of."""

    version: str
    platform: Platform
    wheels: tuple[Wheel, ...]
    """hilnas's own first."""

    @cached_property
    def release(self) -> str:
        """Name of the release: its version, and the first digits of a digest of all that is in it."""
        words = [self.platform.python, *sorted(wheel.sha256 for wheel in self.wheels)]
        return f"{self.version}-{hashlib.sha256(' '.join(words).encode()).hexdigest()[:12]}"

    @cached_property
    def installed_bytes(self) -> int:
        """How much room it takes once it is installed, about: files, their bytecode, and a margin."""
        total = 32 << 20
        for wheel in self.wheels:
            with zipfile.ZipFile(wheel.path) as archive:
                for entry in archive.infolist():
                    total += entry.file_size * (2 if entry.filename.endswith(".py") else 1)
            total += wheel.path.stat().st_size
        return total


def default_cache() -> Path:
    """Return where wheels are kept unless somebody says otherwise."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "hilnas/wheels"


class Wheels:
    """Gathers wheels for boards. `packages`: where the agent's packages lie, as installed here when None."""

    def __init__(
        self,
        cache: Path | None = None,
        constraints: Path = requirements.CONSTRAINTS,
        packages: dict[str, Path] | None = None,
    ) -> None:
        self._cache = cache or default_cache()
        self._constraints, self._packages = constraints, packages

    def gather(self, platform: Platform, progress: Callable[[str], object] = lambda text: None) -> Bundle:
        """Return the wheels for a platform; downloads what is not kept. ProvisionError when that fails."""
        of = own_wheel.installed()
        own = self._own(of)
        return Bundle(of.version, platform, (own, *self._dependencies(of, platform, progress)))

    def _own(self, of: Distribution) -> Wheel:
        name, content = own_wheel.pack(self._packages or own_wheel.folders(), of)
        digest = hashlib.sha256(content).hexdigest()
        path = self._cache / "own" / digest[:16] / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}.part")
            part.write_bytes(content)
            part.replace(path)
        return Wheel(path, digest)

    def _dependencies(
        self, of: Distribution, platform: Platform, progress: Callable[[str], object]
    ) -> list[Wheel]:
        """Return all wheels that hilnas's own needs there."""
        wanted = requirements.needed(of.requires or [], platform)
        versions = requirements.pins(self._constraints)
        asked = " ".join(sorted(requirements.pinned(each, versions) for each in wanted.values()))
        key = hashlib.sha256(f"{asked} {sorted(versions.items())}".encode()).hexdigest()[:12]
        folder = self._cache / f"{platform.name}-{key}"
        if not (folder / _LIST).exists():
            progress(f"downloading wheels for {platform.machine}, Python {platform.python}")
            self._fill(folder, wanted, platform, versions)
        listed = json.loads((folder / _LIST).read_text(encoding="utf-8"))
        return [Wheel(folder / name, digest) for name, digest in listed]

    def _fill(
        self, folder: Path, wanted: dict[str, Requirement], platform: Platform, versions: Mapping[str, str]
    ) -> None:
        """Make the folder, whole or not at all."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache, prefix=".new-") as made:
            new = Path(made)
            self._close(new, wanted, platform, versions)
            listed = [(path.name, _sha256(path)) for path in sorted(new.glob("*.whl"))]
            (new / _LIST).write_text(json.dumps(listed, indent=1), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            new.chmod(0o755)
            new.rename(folder)
            new.mkdir()  # for the context manager to remove

    def _close(
        self, folder: Path, wanted: dict[str, Requirement], platform: Platform, versions: Mapping[str, str]
    ) -> None:
        """Download what is wanted, what that wants, and so on.

        pip looks at markers as they hold on this host, so it is told each name and follows none by itself.
        """
        have: dict[str, str] = {}
        for _ in range(_ROUNDS):
            missing = {name: each for name, each in wanted.items() if name not in have}
            if not missing:
                return
            _download_all(folder, list(missing.values()), platform, versions, self._cache)
            further: list[str] = []
            for path in folder.glob("*.whl"):
                name, version, lines = requirements.of_wheel(path)
                have[name] = version
                further += lines
            for name in missing.keys() - have.keys():
                raise ProvisionError(
                    f"pip downloaded no wheel of {name} for {platform.name}, and did not say why"
                )
            for name, each in requirements.needed(further, platform).items():
                if name in have and not each.specifier.contains(have[name], prereleases=True):
                    raise ProvisionError(
                        f"{name} {have[name]} does not fit {each.specifier}, which another wheel needs: "
                        f"change its line in the constraints"
                    )
                wanted.setdefault(name, each)
        raise ProvisionError(
            f"the wheels for {platform.name} need ever further ones; look at the constraints"
        )


class _NoWheelError(ProvisionError):
    """There is no wheel; `name` is the requirement, in pip's words, that it was not found for."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)


def _download_all(
    folder: Path,
    missing: list[Requirement],
    platform: Platform,
    versions: Mapping[str, str],
    cache: Path,
) -> None:
    """Download in tested versions; where one has no wheel for the platform, the newest that has."""
    names = {requirements.pinned(each, versions): f"{each.name}{each.specifier}" for each in missing}
    while True:
        try:
            return _download(folder, list(names), platform.pip_words(), cache)
        except _NoWheelError as error:
            free = names.get(error.name)
            if free is None or free == error.name:
                raise
            del names[error.name]
            names[free] = free


def _download(folder: Path, names: list[str], words: list[str], cache: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-input", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--no-deps", "-d", str(folder), *words, *names]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProvisionError(f"pip cannot download {', '.join(names)}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        if "No module named pip" in done.stderr:
            raise ProvisionError(
                f"this host's Python has no pip to download wheels with: {sys.executable} -m ensurepip"
            )
        reason = next((line for line in reversed(said) if "ERROR" in line), said[-1])
        found = re.search(r"No matching distribution found for (\S+)", done.stderr)
        raise _NoWheelError(
            found[1] if found else "",
            f"no wheels of {', '.join(names)} can be had ({reason}). This host needs a network for that once; they are "
            f"then kept in {cache}. Without any, put them into a folder and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
