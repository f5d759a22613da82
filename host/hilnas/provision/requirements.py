"""What a wheel needs on a board, and in which versions it was tested."""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hilnas.provision.errors import ProvisionError
from hilnas.provision.platforms import Platform

CONSTRAINTS = Path(__file__).with_name("constraints.txt")
"""Versions that were tested together."""


def needed(lines: Iterable[str], platform: Platform) -> dict[str, Requirement]:
    """Return, of lines such as "numpy>=1.26; python_version < '3.12'", those that hold on a platform, by name.

    What the board's own packages provide is left out.
    """
    found: dict[str, Requirement] = {}
    for line in lines:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name in platform.from_system:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate(platform.markers()):
            continue
        if name in found:
            requirement.specifier &= found[name].specifier
        found[name] = requirement
    return found


def of_wheel(path: Path) -> tuple[str, str, list[str]]:
    """Return name, version and requirements of a wheel file."""
    from email.parser import HeaderParser

    with zipfile.ZipFile(path) as archive:
        inside = next(
            name
            for name in archive.namelist()
            if name.endswith(".dist-info/METADATA") and name.count("/") == 1
        )
        headers = HeaderParser().parsestr(archive.read(inside).decode("utf-8", "replace"))
    return canonicalize_name(headers["Name"]), headers["Version"], headers.get_all("Requires-Dist") or []


def pins(path: Path) -> Mapping[str, str]:
    """Return the versions that a file of constraints names. ProvisionError when it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ProvisionError(
            f"{path} cannot be read ({error.strerror}): which versions to bring is in it"
        ) from error
    parts = (line.partition("#")[0].partition("==") for line in lines)
    return {canonicalize_name(name.strip()): version.strip() for name, sign, version in parts if sign}


def pinned(requirement: Requirement, versions: Mapping[str, str]) -> str:
    """Return the requirement in words for pip: with its tested version where that fits."""
    version = versions.get(canonicalize_name(requirement.name))
    if version is not None and requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name}=={version}"
    return f"{requirement.name}{requirement.specifier}"
