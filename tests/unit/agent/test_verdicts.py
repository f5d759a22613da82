import signal

import pytest

from hilnas_agent.verdicts import Ended, of_end, of_error


@pytest.mark.parametrize(
    ("error", "loading", "verdict"),
    [
        (ValueError("Didn't find op for builtin opcode 'CONV_2D' version '99'."), True, "UNSUPPORTED_OP"),
        (RuntimeError("Encountered unresolved custom op: X."), True, "UNSUPPORTED_OP"),
        (MemoryError("std::bad_alloc"), True, "OUT_OF_MEMORY"),
        (MemoryError(), False, "OUT_OF_MEMORY"),
        (RuntimeError(""), True, "OUT_OF_MEMORY"),
        (RuntimeError(""), False, "CRASHED"),
        (ValueError("The model is not a valid Flatbuffer buffer"), True, "INVALID_MODEL"),
        (ValueError("odd"), False, "CRASHED"),
        (RuntimeError("Node number 3 (CONV_2D) failed to prepare."), True, "CRASHED"),
    ],
)
def test_errors_in_the_worker(error, loading, verdict):
    found, message = of_error(error, loading)
    assert found == verdict
    assert message


@pytest.mark.parametrize(
    ("ended", "verdict", "words"),
    [
        (Ended(timed_out=True, took_job=True), "TIMEOUT", "1500 ms"),
        (Ended(overflowed=True, took_job=True), "CRASHED", "larger"),
        (Ended(took_job=False, returncode=1, stderr="no such module"), "DEVICE_FAULT", "no such module"),
        (Ended(took_job=True, returncode=1, stderr="INFO: hi\nboom"), "CRASHED", ": boom"),
        (Ended(took_job=True, returncode=-signal.SIGSEGV), "CRASHED", "SIGSEGV"),
        (Ended(took_job=True, returncode=-signal.SIGKILL), "OUT_OF_MEMORY", "did not send"),
        (Ended(took_job=True, returncode=-signal.SIGXCPU), "TIMEOUT", "SIGXCPU"),
        (
            Ended(took_job=True, returncode=-signal.SIGABRT, stderr="what(): std::bad_alloc"),
            "OUT_OF_MEMORY",
            "SIGABRT",
        ),
        (Ended(took_job=True, returncode=-60), "CRASHED", "60"),
    ],
)
def test_ends_of_the_worker(ended, verdict, words):
    found, message = of_end(ended, 1500)
    assert found == verdict
    assert words in message
    assert "INFO" not in message
