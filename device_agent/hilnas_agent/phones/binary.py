"""Measures one model on a phone by benchmark_model, in the words of a worker.

An invocation is a process of its own that loads, warms up and infers for a short stretch; its median is
one sample. Starting a process and asking over adb takes a few hundred ms, so there are tens of samples where
a worker takes hundreds: the interval is wider, and as honest.
"""

import json
import time
from array import array
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hilnas_agent import conditions
from hilnas_agent.evidence import failed
from hilnas_agent.jobs import FaultError
from hilnas_agent.phones import benchmark
from hilnas_agent.phones.adb import Finished, LinkError
from hilnas_agent.phones.benchmark import Invocation, NotUnderstoodError, Report
from hilnas_agent.phones.files import PhoneFiles
from hilnas_agent.phones.mirror import Mirror
from hilnas_agent.phones.on_phone import OnPhone
from hilnas_agent.protocol import Timing
from hilnas_agent.runtimes import NONE
from hilnas_agent.settings import Settings
from hilnas_agent.verdicts import Ended

NAME = "adb-benchmark"
LEAST_SAMPLES = 10
"""Invocations behind a figure, at least, whatever the time for sampling."""
_STRETCH_S = 0.2
_WARMUP_S = 0.1
_WARMUP_RUNS = 1
"""Before a sample: the first invocation has been through the whole warm-up, this one warms its own process."""
_KILLED = -9


class BinaryWorker(OnPhone):
    """Takes jobs for a phone that has benchmark_model: a `Measuring`."""

    def __init__(self, mirror: Mirror, files: PhoneFiles, program: Path, digest: str) -> None:
        super().__init__(mirror.link, NAME)
        self._mirror, self._files, self._program, self._digest = mirror, files, program, digest

    def run(
        self, job: bytes, deadline_s: float, on_taken: Callable[[], object], start_next: Callable[[], Any]
    ) -> Ended:
        """Measures; FaultError when the phone goes away or the binary is not as configured."""
        spec = json.loads(job)
        if "examples_path" in spec:
            raise FaultError(
                "benchmark_model cannot run examples: give the phone a Python runtime (hub --phone-python)"
            )
        settings, source = Settings.from_json(spec["protocol"]), Path(spec["model_path"])
        try:
            program = self._files.program(self._program, self._digest)
            model = self._files.data(source, source.name)
            on_taken()
            session = _Session(self, program, model, spec, settings, time.monotonic() + deadline_s)
            if "energy" in spec:
                answer, samples = session.run_alone(self._mirror), b""
            else:
                answer, samples = session.measure(self._mirror)
        except (LinkError, OSError) as error:
            raise FaultError(str(error)) from error
        except NotUnderstoodError as error:
            answer, samples = {"verdict": "DEVICE_FAULT", "message": str(error)}, b""
        except _FailedError as error:
            answer, samples = {"verdict": error.verdict, "message": error.message}, b""
        if self._killed:
            return Ended(took_job=True, returncode=_KILLED)
        return Ended(json.dumps(answer).encode() + b"\n" + samples, took_job=True)

    def execute(self, command: str, ends_at: float) -> Finished:
        """Runs a command on the phone, unless this worker has been killed."""
        running = self.open(command)
        if running is None:
            return Finished(128 - _KILLED, b"", b"")
        try:
            return running.finish(ends_at)
        finally:
            with self._lock:
                self._running = None


class _FailedError(Exception):
    """An invocation failed; verdict and message say how."""

    def __init__(self, verdict: str, message: str) -> None:
        super().__init__(message)
        self.verdict, self.message = verdict, message


class _Session:
    """The invocations that measure one model."""

    def __init__(
        self,
        worker: BinaryWorker,
        program: str,
        model: str,
        spec: dict[str, Any],
        settings: Settings,
        ends_at: float,
    ) -> None:
        self._worker, self._program, self._model, self._ends_at = worker, program, model, ends_at
        self._spec, self._settings = spec, settings
        self._deadline_ms = round((ends_at - time.monotonic()) * 1000)
        self._seen_khz: list[int] = []

    def measure(self, mirror: Mirror) -> tuple[dict[str, Any], bytes]:
        """The answer as a worker gives it, and the samples in ns."""
        from hilnas_agent.statistics import summarize

        settings, cpus = self._settings, self._spec["cpus"]
        mirror.refresh()
        before = conditions.read(mirror.root, cpus)
        # Looked at apart: watching the memory takes a thread, which disturbs the timing.
        first = self._invoke(settings.warmup_runs, settings.warmup_ms / 1000, memory=True)
        reports = self._sample()
        mirror.refresh()
        after = conditions.read(mirror.root, cpus)
        timing = Timing(samples_ns=array("Q", (round(report.sample_us * 1000) for report in reports)))
        samples = list(timing.samples_ns)
        summary = summarize(
            _as_array(samples), settings.confidence, settings.bootstrap_resamples, self._spec["input_seed"]
        )
        evidence = self._evidence(timing, summary, before, after)
        broken = failed(evidence)
        answer = {
            "verdict": "UNSTABLE" if broken else "TRUSTED",
            "message": "; ".join(each.text for each in broken),
            "evidence": [each.to_json() for each in evidence],
            "latency": {f"{name}_ms": value * 1e-6 for name, value in asdict(summary).items()}
            | {
                "load_ms": first.init_us / 1000,
                "first_ms": first.first_us / 1000,
                "inner_loops": sorted(report.runs.count for report in reports)[len(reports) // 2],
                "warmup_runs": first.warmup.count,
                "warmup_ms": first.warmup.count * first.warmup.mean_us / 1000,
            },
            "memory": {} if first.peak_mib is None else {"run_peak_kib": round(first.peak_mib * 1024)},
            "runtime": {"delegate": first.delegate, "partitions": first.partitions},
            "conditions": self._conditions(before, after),
            "measuring_ms": sum(report.spent_ms for report in (first, *reports)),
        }
        return answer, array("Q", samples).tobytes()

    def run_alone(self, mirror: Mirror) -> dict[str, Any]:
        """The answer to a job that asks for energy: the model runs, so that one that fails is found out."""
        mirror.refresh()
        before = conditions.read(mirror.root, self._spec["cpus"])
        report = self._invoke(self._settings.warmup_runs, _WARMUP_S)
        wanted = self._spec["energy"]["meter"]
        why = "benchmark_model runs beside no meter: give the phone a Python runtime (hub --phone-python)"
        return {
            "verdict": "TRUSTED",
            "message": "",
            "energy": {"verdict": "UNAVAILABLE", "message": why, "meter": wanted},
            "runtime": {"delegate": report.delegate, "partitions": report.partitions},
            "conditions": self._conditions(before, before),
            "measuring_ms": report.spent_ms,
        }

    def _sample(self) -> list[Report]:
        """Short invocations until the interval is narrow enough or the time for sampling is spent."""
        settings, began = self._settings, time.monotonic()
        reports: list[Report] = []
        while True:
            reports.append(self._invoke(_WARMUP_RUNS, _WARMUP_S))
            spent_ms = (time.monotonic() - began) * 1000
            if len(reports) < LEAST_SAMPLES:
                continue
            if len(reports) >= settings.min_samples and spent_ms >= settings.min_sampling_ms:
                return reports
            if spent_ms >= settings.max_sampling_ms:
                return reports

    def _invoke(self, warmup_runs: int, warmup_s: float, memory: bool = False) -> Report:
        stretch_s = max(_STRETCH_S, self._settings.min_sample_ms / 1000)
        asked = Invocation(
            threads=self._spec["threads"],
            xnnpack=self._spec.get("delegate", "") != NONE,
            warmup_runs=warmup_runs,
            warmup_s=warmup_s,
            stretch_s=stretch_s,
            most_s=max(stretch_s, self._ends_at - time.monotonic()),
            memory=memory,
        )
        command = benchmark.command(self._program, self._model, self._spec["cpus"], asked)
        finished = self._worker.execute(command, self._ends_at)
        failure = benchmark.failure(finished, self._deadline_ms)
        if failure is not None:
            raise _FailedError(*failure)
        self._seen_khz += benchmark.frequencies_khz(finished.errors)
        return benchmark.parse(finished.text)

    def _evidence(
        self, timing: Timing, summary: Any, before: conditions.Reading, after: conditions.Reading
    ) -> list[Any]:
        from hilnas_agent import rules

        settings = self._settings
        found = [rules.interval_evidence(summary, settings)]
        if settings.rules is not None:
            found += rules.sample_evidence(timing, settings)
            found += [
                rules.frequency_evidence(
                    settings.rules, before.target_khz, min(self._seen_khz, default=None)
                ),
                rules.temperature_evidence(settings.rules, before.temperature_c, after.temperature_c),
            ]
        return found

    def _conditions(self, before: conditions.Reading, after: conditions.Reading) -> dict[str, Any]:
        return {
            "temperature_before_c": before.temperature_c,
            "temperature_after_c": after.temperature_c,
            "governor": after.governor,
            "frequency_khz": self._seen_khz[-1] if self._seen_khz else None,
            "lowest_frequency_khz": min(self._seen_khz, default=None),
            "target_frequency_khz": before.target_khz,
            "load_average": before.load_average,
            "cpus": ",".join(map(str, self._spec["cpus"])),
        }


def _as_array(samples: list[int]) -> Any:
    import numpy as np

    return np.array(samples, np.float64)
