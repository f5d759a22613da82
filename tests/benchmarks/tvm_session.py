"""Measurement sessions by TVM's RPC, for job_overhead: run in a Python that has apache-tvm, which need not have hilnas.

Starts TVM's own tracker and server as processes, then answers each line on standard input with the times of one
session, in ms, as a line of JSON.
"""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KEY = "bench"
RUNS = 10
PAUSE_S = 1.5
READY_S = 60


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(module: str, *more: str) -> tuple[subprocess.Popen[bytes], int]:
    """A program of TVM's, in a process group of its own, and its port."""
    port = free_port()
    command = [sys.executable, "-m", f"tvm.exec.{module}", "--host=127.0.0.1", f"--port={port}"]
    command += [f"--port-end={port + 1}", *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=2, start_new_session=True), port


def library(path: str, size_bytes: int) -> None:
    """Compile a trivial function; the file is filled up to the size (a loader does not look behind the end)."""
    import tvm
    from tvm import te

    given = te.placeholder((8,), name="given", dtype="float32")
    result = te.compute((8,), lambda i: given[i] + 1.0, name="result")
    function = te.create_prim_func([given, result]).with_attr("global_symbol", "trivial")
    tvm.compile(tvm.IRModule({"trivial": function}), target="llvm").export_library(path)
    with Path(path).open("ab") as file:
        file.write(os.urandom(max(0, size_bytes - file.tell())))


def session(tracker: object, path: str) -> dict[str, float]:
    """Times of one session in ms; `call` and `again` without the execution that TVM itself reports."""
    import numpy as np
    import tvm

    marks = [time.perf_counter()]

    def mark() -> None:
        marks.append(time.perf_counter())

    remote = tracker.request(KEY)  # type: ignore[attr-defined]
    mark()
    remote.upload(path, "trivial.so")
    mark()
    module = remote.load_module("trivial.so")
    mark()
    device = remote.cpu(0)
    tensors = [tvm.runtime.tensor(np.zeros(8, "float32"), device) for _ in range(2)]
    mark()
    executed = []
    for pause_s in (0, PAUSE_S):
        time.sleep(pause_s)
        mark()
        timed = module.time_evaluator("trivial", device, number=RUNS, repeat=1)
        executed.append(sum(timed(*tensors).results) * RUNS)
        mark()
    del timed, tensors, device, module, remote
    mark()
    took = [(after - before) * 1000 for before, after in itertools.pairwise(marks)]
    names = ("request", "upload", "load", "tensors", "", "call", "pause", "again", "close")
    times = dict(zip(names, took, strict=True))
    del times[""], times["pause"]
    times["call"] -= executed[0] * 1000
    times["again"] -= executed[1] * 1000
    return times


def main(size_bytes: int) -> None:
    """Serve sessions until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # TVM's libraries print
    import tvm
    from tvm import rpc

    tracker, port = started("rpc_tracker")
    server, _ = started("rpc_server", f"--key={KEY}", f"--tracker=127.0.0.1:{port}")
    try:
        client = None
        ends = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(OSError, RuntimeError):
                client = client or rpc.connect_tracker("127.0.0.1", port)
                if client.summary()["queue_info"].get(KEY, {}).get("free"):
                    break
            if time.monotonic() > ends:
                raise SystemExit(f"TVM's tracker and server were not ready within {READY_S} s")
            time.sleep(0.2)
        with tempfile.TemporaryDirectory() as folder:
            library(f"{folder}/trivial.so", size_bytes)
            print(json.dumps({"version": tvm.__version__}), file=answers, flush=True)
            for _ in sys.stdin:
                print(json.dumps(session(client, f"{folder}/trivial.so")), file=answers, flush=True)
    finally:
        for process in (server, tracker):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
