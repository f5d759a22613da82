"""One session with a model: loaded, warmed up, timed, judged. Runs inside a worker process."""

import gc
import os
import resource
import struct
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilnas_agent import conditions, limits, memory, protocol, runtimes, verdicts
from hilnas_agent.evidence import failed
from hilnas_agent.neighbours import Neighbours
from hilnas_agent.settings import Rules, Settings
from hilnas_agent.speed import FixedWork, Speed

if TYPE_CHECKING:
    from hilnas_agent.rules import Watched

_IDENTIFIER = b"TFL3"
_MS = 1e-6


class FaultError(Exception):
    """The device's fault: the model has not been touched."""


class InvalidModelError(Exception):
    """The file is no model."""


class SessionHooks(protocol.Hooks):
    """Counts what happens on the device while samples are taken."""

    def __init__(self) -> None:
        self.neighbours = Neighbours(Rules().max_neighbour_load)
        self.speed = Speed(0, 0, int)
        self.cpus: list[int] = []
        self.lowest_khz: int | None = None
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self.before = conditions.Reading(None, "", None, None)

    def prepare(self, settings: Settings, cpus: list[int], fixed_work_ns: int | None = None) -> None:
        """Takes the session's own limits, before its model is loaded.

        `fixed_work_ns` is the least time of the fixed work so far; None where that must not be done.
        """
        self.neighbours = Neighbours((settings.rules or Rules()).max_neighbour_load)
        if fixed_work_ns is not None:
            self.speed = Speed((settings.rules or Rules()).max_slowdown, fixed_work_ns, FixedWork())
        self.cpus = cpus
        self.before = conditions.read(cpus=cpus)

    def sampling(self) -> None:
        """Notes the counters as sampling begins."""
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._look()
        self.neighbours.begin()
        self.speed.begin()

    def slice(self) -> bool:
        """Looks at the processor's speed after each slice of samples."""
        return self.speed.is_full()

    def stretch(self) -> bool:
        """Looks at frequency and neighbours after each stretch of samples."""
        self._look()
        return self.neighbours.quiet()

    def counted(self) -> tuple[int, int]:
        """Involuntary context switches, and page faults that waited for a disk, since sampling began."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_nivcsw - self._usage.ru_nivcsw, usage.ru_majflt - self._usage.ru_majflt

    def _look(self) -> None:
        now = conditions.frequency_khz(conditions.ROOT, self.cpus) if self.cpus else None
        if now is not None:
            self.lowest_khz = min(now, self.lowest_khz or now)


def measure(
    runtime: runtimes.Runtime, spec: dict[str, Any], hooks: SessionHooks
) -> tuple[dict[str, Any], bytes]:
    """The worker's answer to a job, as JSON data, and the raw samples as little-endian uint64, in ns.

    FaultError and InvalidModelError where the model was not even loaded.
    """
    settings = Settings.from_json(spec["protocol"])
    path = prepare(spec)
    hooks.prepare(settings, spec["cpus"], spec.get("fixed_work_ns", 0))

    memory.reset_peak()
    baseline_kib = memory.peak_kib()
    start = time.perf_counter_ns()
    try:
        model = runtime.load(path, spec["threads"], spec.get("delegate", ""))
        load_ns = time.perf_counter_ns() - start
        load_peak_kib = memory.peak_kib()
        model.fill_inputs(spec["input_seed"])
    except Exception as error:  # noqa: BLE001 - a runtime may raise anything
        return failure(error, loading=True), b""

    memory.reset_peak()
    gc.disable()
    try:
        timing = protocol.measure(model.invoke, time.perf_counter_ns, settings, hooks)
    except Exception as error:  # noqa: BLE001
        return failure(error, loading=False), b""
    run_peak_kib = memory.peak_kib()
    answer = _judge(timing, settings, spec["input_seed"], hooks)
    answer["latency"] |= {"load_ms": load_ns * _MS, "first_ms": timing.first_ns * _MS}
    answer["runtime"] = model.graph()._asdict()
    answer["memory"] = {
        "baseline_kib": baseline_kib,
        "load_peak_kib": load_peak_kib,
        "run_peak_kib": run_peak_kib,
        "arena_kib": model.arena_kib(),
    }
    spent_ns = load_ns + timing.first_ns + timing.warmup_ns - timing.held_ns + timing.sampling_ns
    answer["measuring_ms"] = spent_ns * _MS
    loops = timing.inner_loops
    raw = [round(sample / loops) for sample in timing.samples_ns]
    return answer, struct.pack(f"<{len(raw)}Q", *raw)


def evaluate(runtime: runtimes.Runtime, spec: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The worker's answer to a job that has examples: their outputs' form, and the outputs themselves.

    FaultError and InvalidModelError where the model was not even loaded.
    """
    import numpy as np

    path = prepare(spec)
    try:
        examples = np.load(spec["examples_path"], allow_pickle=False)
    except (OSError, ValueError) as error:
        raise FaultError(f"the examples cannot be read: {error}") from error
    try:
        model = runtime.load(path, spec["threads"], spec.get("delegate", ""))
    except Exception as error:  # noqa: BLE001 - a runtime may raise anything
        return failure(error, loading=True), b""
    start = time.perf_counter_ns()
    try:
        outputs = model.run(examples)
    except Exception as error:  # noqa: BLE001
        return failure(error, loading=False), b""
    return {
        "verdict": "TRUSTED",
        "message": "",
        "runtime": model.graph()._asdict(),
        "measuring_ms": (time.perf_counter_ns() - start) * _MS,
        "outputs": {"shape": list(outputs.shape[1:]), "dtype": outputs.dtype.name, "count": len(outputs)},
    }, np.ascontiguousarray(outputs).tobytes()


def prepare(spec: dict[str, Any]) -> Path:
    """Pins and limits this process, and looks at the file that it is to load: its path."""
    if spec["cpus"]:
        try:
            os.sched_setaffinity(0, spec["cpus"])
        except OSError as error:
            raise FaultError(
                f"cannot run on processors {spec['cpus']}: {error.strerror}; see --cpus"
            ) from error
    limits.limit_job(spec["address_space_mib"], spec["cpu_seconds"])
    path = Path(spec["model_path"])
    _check_file(path)
    return path


def _judge(timing: protocol.Timing, settings: Settings, seed: int, hooks: SessionHooks) -> dict[str, Any]:
    import numpy as np

    from hilnas_agent.rules import session_evidence
    from hilnas_agent.statistics import summarize

    # Where samples were set aside, what counts was taken in the quiet stretches alone.
    seen = watched(hooks, of_quiet=bool(timing.set_aside))
    samples = np.array(timing.kept_ns(), np.float64) / timing.inner_loops
    summary = summarize(samples, settings.confidence, settings.bootstrap_resamples, seed)
    evidence = session_evidence(timing, summary, settings, seen)
    broken = failed(evidence)
    latency = {f"{name}_ms": value * _MS for name, value in asdict(summary).items()}
    return {
        "verdict": "UNSTABLE" if broken else "TRUSTED",
        "message": "; ".join(each.text for each in broken),
        "evidence": [each.to_json() for each in evidence],
        "latency": latency
        | {
            "inner_loops": timing.inner_loops,
            "warmup_runs": timing.warmup_runs,
            "warmup_ms": timing.warmup_ns * _MS,
            "set_aside": list(timing.set_aside),
        },
        "conditions": conditions_of(seen),
    }


def watched(hooks: SessionHooks, of_quiet: bool = False) -> "Watched":
    """What happened on the device since sampling began; `of_quiet`: other work in the quiet stretches alone."""
    from hilnas_agent.rules import Watched

    switches, faults = hooks.counted()
    return Watched(
        before=hooks.before,
        after=conditions.read(cpus=hooks.cpus),
        lowest_khz=hooks.lowest_khz,
        switches=switches,
        major_faults=faults,
        neighbour_load=hooks.neighbours.load(of_quiet),
        neighbours_known=hooks.neighbours.known,
        slowdown=hooks.speed.slowdown(of_quiet),
        fixed_work_ns=hooks.speed.best_ns,
    )


def conditions_of(seen: "Watched") -> dict[str, Any]:
    """The fields of the wire's Conditions."""
    before, after = seen.before, seen.after
    return {
        "temperature_before_c": before.temperature_c,
        "temperature_after_c": after.temperature_c,
        "governor": after.governor,
        "frequency_khz": after.frequency_khz,
        "lowest_frequency_khz": seen.lowest_khz,
        "target_frequency_khz": before.target_khz,
        "throttle_bits": after.throttle_bits,
        "load_average": before.load_average,
        "involuntary_switches": seen.switches,
        "major_faults": seen.major_faults,
        "swapped_pages": max(0, after.swapped_pages - before.swapped_pages),
        "neighbour_load": seen.neighbour_load,
        "fixed_work_ns": seen.fixed_work_ns or None,
        "slowdown": seen.slowdown,
        "cpus": ",".join(map(str, sorted(os.sched_getaffinity(0)))),
    }


def failure(error: Exception, loading: bool) -> dict[str, Any]:
    """The worker's answer for what a runtime raised, `loading` a model or running it."""
    verdict, message = verdicts.of_error(error, loading)
    return {"verdict": verdict, "message": message}


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise FaultError(f"cannot read the cached model {path}: {error.strerror}") from error
    if len(head) < 8 or head[4:] != _IDENTIFIER:
        raise InvalidModelError("no TFLite model: the identifier TFL3 is missing at byte 4")
