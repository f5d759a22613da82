"""Between the values that travel and the messages of the wire."""

import math

from hilnas.farm.settings import CONFIDENCE, MeasurementOptions
from hilnas.trial import FIGURE_VERDICTS, Latency, Measurement, Verdict
from hilnas_protos.v1 import measurement_pb2

MAX_SAMPLES = 100_000
"""Raw samples kept of one measurement; a peer that sends more is cut."""

_VERDICTS = {
    number: Verdict(name.removeprefix("VERDICT_"))
    for name, number in measurement_pb2.Verdict.items()
    if number != measurement_pb2.VERDICT_UNSPECIFIED
}


def measure_job(
    options: MeasurementOptions, job_id: str, attempt: int, fence: int, model_sha256: str, size: int
) -> measurement_pb2.MeasureJob:
    """Return the message that asks for a measurement."""
    return measurement_pb2.MeasureJob(
        job_id=job_id,
        attempt=attempt,
        fence=fence,
        model=measurement_pb2.Artifact(sha256=model_sha256, size_bytes=size),
        runtime=measurement_pb2.RuntimeSpec(name=options.runtime, threads=options.threads),
        protocol=measurement_pb2.MeasurementProtocol(
            warmup_runs=options.warmup_runs,
            warmup_ms=options.warmup_ms,
            min_samples=options.min_samples,
            min_sample_ms=options.min_sample_ms,
            min_sampling_ms=options.min_sampling_ms,
            max_sampling_ms=options.max_sampling_ms,
            confidence=CONFIDENCE,
            bootstrap_resamples=options.bootstrap_resamples,
            max_half_width=options.max_half_width,
        ),
        protocol_hash=options.protocol_hash,
        limits=measurement_pb2.WorkerLimits(
            deadline_ms=round(options.deadline_s * 1000), address_space_mib=options.address_space_mib
        ),
        input_seed=int(model_sha256[:8], 16),
    )


def measurement(result: measurement_pb2.MeasureResult, device: str, device_class: str) -> Measurement:
    """Return the value of a result. A verdict without figures where it needs them is a DEVICE_FAULT."""
    verdict = _VERDICTS.get(result.verdict, Verdict.DEVICE_FAULT)
    message = result.message
    figures = verdict in FIGURE_VERDICTS
    if figures and not (result.HasField("latency") and _sound(result)):
        verdict, message, figures = Verdict.DEVICE_FAULT, "the agent sent figures that cannot be", False
    runtime = result.runtime
    return Measurement(
        device=device,
        device_class=device_class,
        model_sha256=result.model_sha256,
        protocol_hash=result.protocol_hash,
        runtime=" ".join(
            part for part in (runtime.name, runtime.version, runtime.delegate, f"x{runtime.threads}") if part
        ),
        verdict=verdict,
        message=message,
        latency=_latency(result.latency) if figures else None,
        peak_memory_kib=max(result.memory.load_peak_kib, result.memory.run_peak_kib) or None
        if figures
        else None,
        baseline_memory_kib=result.memory.baseline_kib or None,
        conditions=_conditions(result.conditions),
        started_unix_ms=result.started_unix_ms,
        device_ms=result.total_ms if math.isfinite(result.total_ms) else 0.0,
        attempt=result.attempt,
    )


def _sound(result: measurement_pb2.MeasureResult) -> bool:
    """Are the figures numbers, in an order that numbers of one measurement can have?"""
    latency = result.latency
    ordered = (latency.low_ms, latency.median_ms, latency.high_ms)
    rest = (latency.p5_ms, latency.p90_ms, latency.p95_ms, latency.mad_ms, latency.load_ms, latency.first_ms)
    return (
        all(math.isfinite(value) and value >= 0 for value in (*ordered, *rest, result.total_ms))
        and latency.median_ms > 0
        and list(ordered) == sorted(ordered)
    )


def _latency(latency: measurement_pb2.Latency) -> Latency:
    return Latency(
        median_ms=latency.median_ms,
        low_ms=latency.low_ms,
        high_ms=latency.high_ms,
        p5_ms=latency.p5_ms,
        p90_ms=latency.p90_ms,
        p95_ms=latency.p95_ms,
        mad_ms=latency.mad_ms,
        load_ms=latency.load_ms,
        first_ms=latency.first_ms,
        inner_loops=latency.inner_loops,
        samples_ns=tuple(latency.samples_ns[:MAX_SAMPLES]),
    )


def _conditions(conditions: measurement_pb2.Conditions) -> dict[str, float | str]:
    """Return what the device knew, by the wire's own names."""
    return {
        field.name: value if isinstance(value, str) else float(value)
        for field, value in conditions.ListFields()
        if isinstance(value, str) or math.isfinite(value)
    }
