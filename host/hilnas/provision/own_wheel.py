"""The wheel of hilnas's agent, packed from what is installed here: a host needs neither sources nor a network.

It holds the agent and the wire's modules, nothing of the host. The same files make the same bytes, so that a
board can tell whether it has them.
"""

import base64
import configparser
import hashlib
import io
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from hilnas.provision.errors import ProvisionError

DISTRIBUTION = "hilnas"
PACKAGES = ("hilnas_agent", "hilnas_protos")
_SCRIPT = "hilnas-agent"
_LEFT_OUT = (".pyc", ".pyo", ".proto", ".pyi")
_WHEEL = "Wheel-Version: 1.0\nGenerator: hilnas\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_DATE = (1980, 1, 1, 0, 0, 0)


def installed() -> Distribution:
    """Return the installed distribution. ProvisionError when hilnas runs without being installed."""
    try:
        return distribution(DISTRIBUTION)
    except PackageNotFoundError as error:
        raise ProvisionError(
            "hilnas is not installed here, so nothing tells what its agent needs: pip install hilnas, or -e . in a clone"
        ) from error


def folders() -> dict[str, Path]:
    """Return where the agent's packages lie on this host."""
    found = {}
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise ProvisionError(f"the package {name} is not installed here: pip install hilnas anew")
        found[name] = Path(next(iter(spec.submodule_search_locations)))
    return found


def pack(packages: dict[str, Path], of: Distribution) -> tuple[str, bytes]:
    """Return name and content of the wheel of `packages` (name to folder), described as `of` is."""
    folder = f"{DISTRIBUTION}-{of.version}.dist-info"
    files = {
        f"{name}/{path.relative_to(place).as_posix()}": path.read_bytes()
        for name, place in packages.items()
        for path in place.rglob("*")
        if path.is_file() and path.suffix not in _LEFT_OUT
    }
    files[f"{folder}/METADATA"] = (of.read_text("METADATA") or "").encode()
    files[f"{folder}/WHEEL"] = _WHEEL.encode()
    files[f"{folder}/entry_points.txt"] = _entry_points(of).encode()
    lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in sorted(files.items())]
    files[f"{folder}/RECORD"] = "\n".join([*lines, f"{folder}/RECORD,,", ""]).encode()
    return f"{DISTRIBUTION}-{of.version}-py3-none-any.whl", _zip(files)


def _entry_points(of: Distribution) -> str:
    """Return the agent's entry points alone: the host's lead to what is not there."""
    every = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    every.optionxform = str  # type: ignore[assignment,method-assign]
    every.read_string(of.read_text("entry_points.txt") or "")
    kept = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    kept.optionxform = str  # type: ignore[assignment,method-assign]
    for section in every.sections():
        entries = {
            name: value
            for name, value in every.items(section)
            if value.startswith(PACKAGES) and (section != "console_scripts" or name == _SCRIPT)
        }
        if entries:
            kept[section] = entries
    text = io.StringIO()
    kept.write(text)
    return text.getvalue()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def _zip(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return content.getvalue()
