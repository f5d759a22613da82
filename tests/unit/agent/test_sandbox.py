"""What a model's process may ask of the kernel, from inside a real worker."""

import platform
import struct

import pytest

from hilnas_agent import sandbox
from tests.unit.agent import tiny_models
from tests.unit.agent.misbehaving import ACTS
from tests.unit.agent.test_worker import MISBEHAVE, OFFERS, PROTOCOL, measure

ALLOWED = ("start a thread", "read a file", "signal itself", "limit itself")
filtered = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the numbers of the calls here are those of x86-64"
)


@pytest.fixture
def reachable(monkeypatch, request, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))
    monkeypatch.setenv("ACT_MODEL", str(tmp_path / "model"))


@filtered
@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize("act", [act for act in ACTS if act not in ALLOWED])
def test_what_no_model_has_to_ask_is_refused(act, tmp_path, monkeypatch):
    monkeypatch.setenv("ACT", act)
    verdict, message, _ = measure(MISBEHAVE + "Acts", tiny_models.good(), tmp_path)
    wanted = "ENOSYS" if act == "fork by another name" else "EPERM"
    assert (verdict, message) == ("CRASHED", f"RuntimeError: refused: {wanted}")
    assert (tmp_path / "model").read_bytes() == tiny_models.good()


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize("act", ALLOWED)
def test_what_a_runtime_needs_is_not(act, tmp_path, monkeypatch):
    monkeypatch.setenv("ACT", act)
    assert measure(MISBEHAVE + "Acts", tiny_models.good(), tmp_path)[1] == "RuntimeError: done"


@pytest.mark.parametrize("path", [offer.path for offer in OFFERS], ids=[offer.name for offer in OFFERS])
def test_a_model_runs_on_two_threads(path, tmp_path):
    # Two threads that wait for each other take long where other work has a processor.
    found = measure(path, tiny_models.good(), tmp_path, deadline_s=120.0, threads=2)
    assert found[0] in {"TRUSTED", "UNSTABLE"}


@pytest.mark.usefixtures("reachable")
def test_the_peak_of_running_is_not_that_of_loading(tmp_path):
    """The counter is reset after the model is loaded, so by a process that may open no file to write."""
    quick = PROTOCOL | {"min_samples": 3}
    memory = measure(MISBEHAVE + "Greedy", tiny_models.good(), tmp_path, protocol=quick)[2]["memory"]
    assert memory["load_peak_kib"] - memory["run_peak_kib"] > 150 << 10


@pytest.mark.parametrize(
    ("machine", "bits", "column"),
    [
        ("x86_64", 8, 0),
        ("aarch64", 8, 1),
        ("aarch64", 4, 2),
        ("armv7l", 4, 2),
        ("x86_64", 4, None),
        ("riscv64", 8, None),
    ],
)
def test_the_calls_are_those_of_the_process_not_of_the_kernel(machine, bits, column, monkeypatch):
    monkeypatch.setattr(sandbox.os, "uname", lambda: type("Name", (), {"machine": machine}))
    monkeypatch.setattr(sandbox.struct, "calcsize", lambda _: bits)
    assert sandbox._machine() == column


@pytest.mark.parametrize("machine", [0, 1, 2])
def test_every_program_ends_in_an_answer(machine):
    """Jumps only go forwards in these programs, so it suffices that each lands on a line."""
    code = sandbox._assemble(sandbox._program(machine, 4711))
    lines = list(struct.iter_unpack("=HBBI", code))
    assert lines[-1][0] == sandbox._RETURN
    for place, (operation, holds, otherwise, _) in enumerate(lines):
        if operation not in {sandbox._RETURN, sandbox._LOAD}:
            assert place + 1 + max(holds, otherwise) < len(lines)
    # No call stands in two lists, so none is decided by the order of the lists.
    numbers = [operand for operation, _, _, operand in lines if operation == sandbox._EQUAL]
    assert len(numbers) == len(set(numbers))
