"""A fresh process for one measurement: `python -m hilnas_agent.worker RESULT_FD PARENT_PID RUNTIME`.

It imports NumPy and the runtime, then waits on its standard input for one job (a line of JSON),
measures, answers on RESULT_FD and ends. Start-up is the dear part (0.2 s on a laptop, a second on a
board), so the agent keeps one worker waiting at that point. What such a spare has in memory belongs
to no measurement: the peak is reset before the model is loaded, and the baseline reported.

While this worker warms its model up, the agent starts the next one, and shuts the standard input
once that one waits as well: until then the warm-up goes on, so no sample is taken beside a start.

An answer is a byte for each stage reached (see `stages`), four bytes of length, one line of
JSON, and the raw samples as little-endian uint64, in ns.
"""

import codecs
import gc
import json
import os
import select
import struct
import sys
from typing import Any

from hilnas_agent import limits, measurement, runtimes, verdicts
from hilnas_agent.measurement import FaultError, InvalidModelError, evaluate, measure
from hilnas_agent.stages import READY, TAKEN, WARMING


def main(argv: list[str]) -> int:
    """Takes one job from standard input and answers on the descriptor named in `argv`."""
    result_fd, parent_pid, path = int(argv[0]), int(argv[1]), argv[2]
    if not limits.die_with_parent(parent_pid):
        return 1
    limits.limit_start()
    # The rest of what measuring needs; NumPy and the runtime come with `preload`.
    runtime, broken = _preload(path)
    gc.collect()
    gc.freeze()
    os.write(result_fd, READY)
    text = sys.stdin.buffer.readline().strip()
    if not text:
        return 0
    os.write(result_fd, TAKEN)
    samples = b""
    try:
        if runtime is None:
            answer = {"verdict": "DEVICE_FAULT", "message": f"runtime {path} cannot be imported: {broken}"}
        else:
            answer, samples = _answer(runtime, json.loads(text), _Hooks(result_fd))
    except FaultError as error:
        answer = {"verdict": "DEVICE_FAULT", "message": str(error)}
    except InvalidModelError as error:
        answer = {"verdict": "INVALID_MODEL", "message": str(error)}
    except MemoryError as error:
        answer = dict(zip(("verdict", "message"), verdicts.of_error(error, loading=False), strict=True))
    payload = json.dumps(answer).encode() + b"\n" + samples
    with os.fdopen(result_fd, "wb") as pipe:
        pipe.write(struct.pack(">I", len(payload)) + payload)
    # Freeing a large model and a runtime takes time that the next job would wait for.
    os._exit(0)


def _answer(runtime: runtimes.Runtime, spec: dict[str, Any], hooks: "_Hooks") -> tuple[dict[str, Any], bytes]:
    # Where nothing is timed there is no next worker to wait for.
    if "examples_path" in spec:
        return evaluate(runtime, spec)
    if "energy" in spec:
        return _energy(runtime, spec, hooks)
    return measure(runtime, spec, hooks)


def _energy(runtime: runtimes.Runtime, spec: dict[str, Any], hooks: "_Hooks") -> tuple[dict[str, Any], bytes]:
    from hilnas_agent.energy import passes
    from hilnas_agent.meters import MeterError
    from hilnas_agent.meters.recording import Recording

    recording, missing = None, spec["meter_missing"]
    if spec["meter"]:
        # Now: once the model is to be loaded, this process may start no other.
        try:
            # The recorder keeps to processors that do not measure, where there are any.
            recording = Recording(**spec["meter"], cpus=sorted(os.sched_getaffinity(0) - set(spec["cpus"])))
        except MeterError as error:
            missing = str(error)
    try:
        return passes.measure(runtime, spec, hooks, recording, missing)
    finally:
        # An instrument is left as it was found, which takes a moment; the end of this process would not wait.
        if recording is not None:
            recording.close()


class _Hooks(measurement.SessionHooks):
    """Tells the agent of the warm-up, and waits for it before sampling begins."""

    def __init__(self, result_fd: int) -> None:
        super().__init__()
        self._result_fd = result_fd

    def warming(self) -> None:
        os.write(self._result_fd, WARMING)

    def may_sample(self) -> bool:
        # Nothing follows the job on standard input, so what can be read is its end.
        return bool(select.select([sys.stdin], [], [], 0)[0])


def _preload(path: str) -> tuple[runtimes.Runtime | None, str]:
    try:
        runtime = runtimes.resolve(path)
        runtime.preload()
        from hilnas_agent import rules  # noqa: F401

        codecs.lookup("ascii")  # what the kernel's files are read with
    except Exception as error:  # noqa: BLE001 - whatever a package does when it is imported
        return None, f"{type(error).__name__}: {error}"
    return runtime, ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
