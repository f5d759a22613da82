"""The process behind a local worker: reads pickled calls from a socket, writes pickled answers to it.

It dies with its parent, so that a host that was killed leaves nothing running. The template forks it; run as a module
(`python -m hilnas.executors.local_worker PARENT SOCKET`), it does without one.
"""

import contextlib
import ctypes
import os
import pickle
import signal
import socket
import struct
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from hilnas.executors.inside import Host, work_for

RETURNED, RAISED, PROGRESS, SAVED = "returned", "raised", "progress", "saved"
"""What an answer is: the last of a call (the first two), or one on its way."""
NICENESS = 5
"""Whoever works at this machine, and a device on it, goes first."""

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Serve the parent's calls on the socket that is this process' from its start."""
    die_with_parent(int(sys.argv[1]))
    os.nice(NICENESS)
    serve(socket.socket(fileno=int(sys.argv[2])))
    return 0


def serve(line: socket.socket) -> None:
    """Answer calls until the other side closes."""
    with contextlib.suppress(OSError):  # where memory does run out, it is a worker that the kernel shall end
        Path("/proc/self/oom_score_adj").write_text("500")
    calls, answers = line.makefile("rb"), line.makefile("wb")
    while True:
        payload, kept = _read(calls), _read(calls)
        if payload is None or kept is None:
            return
        _serve(payload, kept, answers)


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent `parent` ends; at once, if that has happened."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _read(calls: BinaryIO) -> bytes | None:
    header = calls.read(8)
    return calls.read(struct.unpack("<Q", header)[0]) if len(header) == 8 else None


def _serve(payload: bytes, kept: bytes, answers: BinaryIO) -> None:
    def tell(kind: str, value: Any) -> None:
        _write(answers, _pickled(kind, value))

    try:
        checkpoint = pickle.loads(kept)  # nosec B301 # noqa: S301 - from our own parent
        work_for(Host(partial(tell, PROGRESS), partial(tell, SAVED), checkpoint))
        function, arguments = pickle.loads(payload)  # nosec B301 # noqa: S301 - from our own parent
        _limit_threads()
        answer = _pickled(RETURNED, function(*arguments))
    except Exception as error:  # noqa: BLE001 - every failure travels to the caller
        traceback.print_exc()
        answer = _failure(error)
    _write(answers, answer)


def _pickled(kind: str, value: Any) -> bytes:
    return pickle.dumps((kind, value))


def _write(answers: BinaryIO, answer: bytes) -> None:
    answers.write(struct.pack("<Q", len(answer)) + answer)
    answers.flush()


def _failure(error: Exception) -> bytes:
    try:
        answer = _pickled(RAISED, error)
        pickle.loads(answer)  # nosec B301 # noqa: S301 - some exceptions pickle and do not come back
    except Exception:  # noqa: BLE001
        return _pickled(RAISED, RuntimeError(f"{type(error).__name__}: {error}"))
    return answer


def _limit_threads() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


if __name__ == "__main__":
    sys.exit(main())
