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

import gc
import json
import os
import resource
import select
import struct
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hilnas_agent import conditions, limits, memory, protocol, runtimes, verdicts
from hilnas_agent.stages import READY, TAKEN, WARMING

_IDENTIFIER = b"TFL3"
_MS = 1e-6


class _FaultError(Exception):
    """The device's fault: the model has not been touched."""


class _InvalidModelError(Exception):
    """The file is no model."""


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
            answer, samples = _measure(runtime, json.loads(text), _Hooks(result_fd))
    except _FaultError as error:
        answer = {"verdict": "DEVICE_FAULT", "message": str(error)}
    except _InvalidModelError as error:
        answer = {"verdict": "INVALID_MODEL", "message": str(error)}
    except MemoryError as error:
        answer = dict(zip(("verdict", "message"), verdicts.of_error(error, loading=False), strict=True))
    payload = json.dumps(answer).encode() + b"\n" + samples
    with os.fdopen(result_fd, "wb") as pipe:
        pipe.write(struct.pack(">I", len(payload)) + payload)
    # Freeing a large model and a runtime takes time that the next job would wait for.
    os._exit(0)


class _Hooks(protocol.Hooks):
    """Tells the agent of the warm-up, and counts the times that sampling had to stand aside."""

    def __init__(self, result_fd: int) -> None:
        self._result_fd, self._switches = result_fd, 0

    def warming(self) -> None:
        os.write(self._result_fd, WARMING)

    def may_sample(self) -> bool:
        # Nothing follows the job on standard input, so what can be read is its end.
        return bool(select.select([sys.stdin], [], [], 0)[0])

    def sampling(self) -> None:
        self._switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw

    def involuntary_switches(self) -> int:
        """Context switches against this process's will since sampling began."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - self._switches


def _preload(path: str) -> tuple[runtimes.Runtime | None, str]:
    try:
        runtime = runtimes.resolve(path)
        runtime.preload()
        from hilnas_agent import statistics  # noqa: F401
    except Exception as error:  # noqa: BLE001 - whatever a package does when it is imported
        return None, f"{type(error).__name__}: {error}"
    return runtime, ""


def _measure(runtime: runtimes.Runtime, spec: dict[str, Any], hooks: _Hooks) -> tuple[dict[str, Any], bytes]:
    settings = protocol.Settings(**spec["protocol"])
    if spec["cpus"]:
        try:
            os.sched_setaffinity(0, spec["cpus"])
        except OSError as error:
            raise _FaultError(
                f"cannot run on processors {spec['cpus']}: {error.strerror}; see --cpus"
            ) from error
    limits.limit_job(spec["address_space_mib"], spec["cpu_seconds"])
    before = conditions.read()
    path = Path(spec["model_path"])
    _check_file(path)

    memory.reset_peak()
    baseline_kib = memory.peak_kib()
    start = time.perf_counter_ns()
    try:
        model = runtime.load(path, spec["threads"])
        load_ns = time.perf_counter_ns() - start
        load_peak_kib = memory.peak_kib()
        model.fill_inputs(spec["input_seed"])
    except Exception as error:  # noqa: BLE001 - a runtime may raise anything
        return _failed(error, loading=True), b""

    memory.reset_peak()
    gc.disable()
    try:
        timing = protocol.measure(model.invoke, time.perf_counter_ns, settings, hooks)
    except Exception as error:  # noqa: BLE001
        return _failed(error, loading=False), b""
    switches = hooks.involuntary_switches()
    after = conditions.read()
    run_peak_kib = memory.peak_kib()
    answer = _judge(timing, settings, spec["input_seed"])
    answer["latency"] |= {"load_ms": load_ns * _MS, "first_ms": timing.first_ns * _MS}
    answer["delegate"] = model.delegate()
    answer["memory"] = {
        "baseline_kib": baseline_kib,
        "load_peak_kib": load_peak_kib,
        "run_peak_kib": run_peak_kib,
    }
    answer["conditions"] = {
        "temperature_before_c": before.temperature_c,
        "temperature_after_c": after.temperature_c,
        "governor": after.governor,
        "frequency_khz": after.frequency_khz,
        "load_average": before.load_average,
        "involuntary_switches": switches,
    }
    spent_ns = load_ns + timing.first_ns + timing.warmup_ns - timing.held_ns + timing.sampling_ns
    answer["measuring_ms"] = spent_ns * _MS
    loops = timing.inner_loops
    raw = [round(sample / loops) for sample in timing.samples_ns]
    return answer, struct.pack(f"<{len(raw)}Q", *raw)


def _judge(timing: protocol.Timing, settings: protocol.Settings, seed: int) -> dict[str, Any]:
    import numpy as np

    from hilnas_agent.statistics import summarize

    samples = np.array(timing.samples_ns, np.float64) / timing.inner_loops
    summary = summarize(samples, settings.confidence, settings.bootstrap_resamples, seed)
    latency = {f"{name}_ms": value * _MS for name, value in asdict(summary).items()}
    answer: dict[str, Any] = {"verdict": "TRUSTED", "message": ""}
    if summary.half_width > settings.max_half_width:
        answer["verdict"] = "UNSTABLE"
        answer["message"] = (
            f"the interval's half-width is {summary.half_width:.1%} of the median, "
            f"over the {settings.max_half_width:.1%} allowed"
        )
    answer["latency"] = latency | {"inner_loops": timing.inner_loops}
    return answer


def _failed(error: Exception, loading: bool) -> dict[str, Any]:
    verdict, message = verdicts.of_error(error, loading)
    return {"verdict": verdict, "message": message}


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise _FaultError(f"cannot read the cached model {path}: {error.strerror}") from error
    if len(head) < 8 or head[4:] != _IDENTIFIER:
        raise _InvalidModelError("no TFLite model: the identifier TFL3 is missing at byte 4")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
