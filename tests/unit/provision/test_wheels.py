"""Which wheels a board gets."""

import csv
import hashlib
import io
import sys
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.tags import parse_tag

from hilnas.provision import own_wheel, requirements
from hilnas.provision.errors import ProvisionError
from hilnas.provision.platforms import Platform
from hilnas.provision.wheels import Wheels

PI = Platform("aarch64", "3.11", (2, 36))
PI_13 = Platform("aarch64", "3.13", (2, 41))
SMALL = Platform("armv7l", "3.11", (2, 36))
PC = Platform("x86_64", "3.11", (2, 28))


def test_tags_follow_glibc():
    assert PI.tags()[0] == "manylinux_2_36_aarch64"
    assert {"manylinux_2_28_aarch64", "manylinux2014_aarch64", "linux_aarch64"} < set(PI.tags())
    assert "manylinux_2_34_x86_64" not in PC.tags()
    assert {"manylinux2010_x86_64", "manylinux1_x86_64"} < set(PC.tags())
    for tag in PI.tags():
        assert parse_tag(f"cp311-cp311-{tag}")


def test_requirements_are_looked_at_as_they_hold_on_the_board():
    lines = own_wheel.installed().requires
    assert set(requirements.needed(lines, PI)) == {
        *("grpcio", "protobuf", "numpy", "ai-edge-litert", "tflite-runtime")
    }
    assert "tflite-runtime" not in requirements.needed(lines, PI_13)
    assert set(requirements.needed(lines, SMALL)) == {"grpcio", "protobuf", "tflite-runtime"}


def test_tested_versions_are_taken_where_they_fit():
    versions = requirements.pins(requirements.CONSTRAINTS)
    assert requirements.pinned(Requirement("grpcio>=1.76,<2"), versions) == f"grpcio=={versions['grpcio']}"
    assert requirements.pinned(Requirement("grpcio<1"), versions) == "grpcio<1"
    assert requirements.pinned(Requirement("unheard-of>2"), versions) == "unheard-of>2"


def test_our_own_wheel_is_a_wheel_of_the_agent_alone(tmp_path):
    of = own_wheel.installed()
    name, content = own_wheel.pack(own_wheel.folders(), of)
    path = tmp_path / name
    path.write_bytes(content)
    assert requirements.of_wheel(path)[:2] == ("hilnas", of.version)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        record = archive.read(f"hilnas-{of.version}.dist-info/RECORD").decode()
        points = archive.read(f"hilnas-{of.version}.dist-info/entry_points.txt").decode()
        for file, digest, size in csv.reader(io.StringIO(record)):
            if digest:
                data = archive.read(file)
                found = urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
                assert (digest, size) == (f"sha256={found}", str(len(data)))
    assert {"hilnas_agent/session.py", "hilnas_protos/v1/agent_pb2.py"} < names
    assert not [file for file in names if file.startswith("hilnas/") or file.endswith((".pyc", ".proto"))]
    assert "hilnas_agent.runtimes" in points and "hilnas-agent = " in points
    assert "hilnas.cli" not in points and "hilnas.strategies" not in points


def test_the_same_files_make_the_same_wheel(tmp_path):
    of, places = own_wheel.installed(), own_wheel.folders()
    first = own_wheel.pack(places, of)
    copied = {name: tmp_path / name for name in places}
    for name, place in places.items():
        for path in sorted(place.rglob("*"), reverse=True):
            if path.is_file():
                to = copied[name] / path.relative_to(place)
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(path.read_bytes())
    assert own_wheel.pack(copied, of) == first
    (copied["hilnas_agent"] / "session.py").write_text("broken")
    assert own_wheel.pack(copied, of) != first


def _wheel(folder: Path, name: str, version: str, *needs: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        lines = ["Metadata-Version: 2.1", f"Name: {name.replace('_', '-')}", f"Version: {version}"]
        lines += [f"Requires-Dist: {need}" for need in needs]
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of wheels that is all that pip can see."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for name, version in {"protobuf": "7.36.2", "numpy": "1.26.4", "tqdm": "4.70.1"}.items():
        _wheel(folder, name, version)
    _wheel(folder, "grpcio", "1.85.0", "tqdm", "winthing; sys_platform == 'win32'")
    _wheel(folder, "ai_edge_litert", "2.3.0", "numpy", "old; python_version < '3.9'")
    _wheel(folder, "tflite_runtime", "2.14.0", "numpy")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    return folder


def test_a_bundle_is_closed_kept_and_needs_no_network_again(tmp_path, shelf, monkeypatch):
    said = []
    wheels = Wheels(tmp_path / "cache")
    bundle = wheels.gather(PI, said.append)
    names = [wheel.path.name.partition("-")[0] for wheel in bundle.wheels]
    # grpcio as tested is not to be had, so the newest that is.
    assert names == ["hilnas", "ai_edge_litert", "grpcio", "numpy", "protobuf", "tflite_runtime", "tqdm"]
    assert len(said) == 1
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    again = wheels.gather(PI, said.append)
    assert again == bundle and again.release == bundle.release
    assert len(said) == 1


def test_a_release_is_named_after_what_is_in_it(tmp_path, shelf):
    wheels = Wheels(tmp_path / "cache")
    first = wheels.gather(PI)
    changed = tmp_path / "hilnas_agent"
    changed.mkdir()
    (changed / "__init__.py").write_text("")
    other = Wheels(tmp_path / "cache", packages={"hilnas_agent": changed}).gather(PI)
    assert first.release.rpartition("-")[0] == other.release.rpartition("-")[0] == first.version
    assert first.release != other.release


def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ProvisionError, match="needs a network for that once"):
        Wheels(tmp_path / "cache").gather(PI)
    assert not list((tmp_path / "cache").glob("aarch64*"))


def test_wheels_that_contradict_each_other_are_told(tmp_path, shelf):
    _wheel(shelf, "grpcio", "1.85.1", "numpy>=99")
    with pytest.raises(ProvisionError, match=r"numpy 1\.26\.4 does not fit"):
        Wheels(tmp_path / "cache").gather(PI)


def test_a_host_without_pip_is_told(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ProvisionError, match="ensurepip"):
        Wheels(tmp_path / "cache").gather(PI)
