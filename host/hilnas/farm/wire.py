"""Between the values that travel and the messages of the wire."""

import math
from dataclasses import replace

from hilnas.farm.devices import DeviceFacts
from hilnas.farm.energy import energy_protocol, energy_value
from hilnas.farm.jobs import Answer, Ask
from hilnas.farm.protocol import CONFIDENCE
from hilnas.trial import (
    FIGURE_VERDICTS,
    NO_METER,
    DeviceEnergy,
    DeviceOutputs,
    Energy,
    EnergyVerdict,
    Evidence,
    GraphFacts,
    Latency,
    Measurement,
    Verdict,
)
from hilnas_protos.v1 import measurement_pb2

MAX_SAMPLES = 100_000
"""Raw samples kept of one measurement; a peer that sends more is cut."""

BOOTSTRAP_RESAMPLES = 1000
"""Resamples behind a session's interval."""

_SAMPLING = (
    *("warmup_runs", "warmup_ms", "max_warmup_ms", "min_samples", "floor_samples"),
    *("min_sample_ms", "min_sampling_ms", "max_sampling_ms", "max_half_width"),
)

_WIDTHS = {"int8": 1, "uint8": 1, "int16": 2, "int32": 4, "int64": 8, "float32": 4, "float64": 8, "bool": 1}

_VERDICTS = {
    number: Verdict(name.removeprefix("VERDICT_"))
    for name, number in measurement_pb2.Verdict.items()
    if number != measurement_pb2.VERDICT_UNSPECIFIED
}


def measure_job(
    ask: Ask, job_id: str, attempt: int, fence: int, size: int, examples_size: int = 0
) -> measurement_pb2.MeasureJob:
    """Return the message that asks for a session."""
    options, protocol = ask.options, ask.protocol
    # What concerns several sessions is the host's own affair.
    sampling = protocol.sampling.model_dump(include=set(_SAMPLING))
    return measurement_pb2.MeasureJob(
        job_id=job_id,
        attempt=attempt,
        fence=fence,
        model=measurement_pb2.Artifact(sha256=ask.model_sha256, size_bytes=size),
        runtime=measurement_pb2.RuntimeSpec(
            name=options.runtime, threads=options.threads, delegate="" if options.xnnpack else "none"
        ),
        protocol=measurement_pb2.MeasurementProtocol(
            **sampling,
            confidence=CONFIDENCE,
            bootstrap_resamples=BOOTSTRAP_RESAMPLES,
            rules=measurement_pb2.SessionRules(**protocol.rules.model_dump()),
            preflight=measurement_pb2.Preflight(**protocol.preflight.model_dump()),
        ),
        protocol_hash=protocol.hash,
        limits=measurement_pb2.WorkerLimits(
            deadline_ms=round(ask.deadline_s * 1000), address_space_mib=options.address_space_mib
        ),
        input_seed=int(ask.model_sha256[:8], 16),
        energy=energy_protocol(ask),
        evaluation=measurement_pb2.Evaluation(
            examples=measurement_pb2.Artifact(sha256=ask.examples, size_bytes=examples_size)
        )
        if ask.examples
        else None,
    )


def answer(result: measurement_pb2.MeasureResult, ask: Ask, device: DeviceFacts, rules_known: bool) -> Answer:
    """Return the value of a result, by what was asked."""
    if ask.examples:
        return device_outputs(result, ask, device.name)
    if ask.energy:
        return device_energy(result, device.name)
    value = measurement(result, ask, device.name, rules_known)
    return value if device.meters else replace(value, energy=NO_METER)


def device_energy(result: measurement_pb2.MeasureResult, device: str) -> DeviceEnergy:
    """Return what an energy pass came to. A verdict without an answer where it needs one is a DEVICE_FAULT."""
    verdict, message = _VERDICTS.get(result.verdict, Verdict.DEVICE_FAULT), result.message
    ran = verdict in FIGURE_VERDICTS
    if ran and not result.HasField("energy"):
        ran, verdict = False, Verdict.DEVICE_FAULT
        message = "the agent measured no energy: is it older than this host? Upgrade it"
    return DeviceEnergy(
        device=device,
        verdict=verdict,
        energy=energy_value(result.energy) if ran else Energy(EnergyVerdict.UNAVAILABLE, message),
        evidence=tuple(_evidence(each) for each in result.evidence),
        message=message,
        device_ms=result.total_ms if math.isfinite(result.total_ms) else 0.0,
    )


def measurement(
    result: measurement_pb2.MeasureResult, ask: Ask, device: str, rules_known: bool = True
) -> Measurement:
    """Return the value of a result. A verdict without figures where it needs them is a DEVICE_FAULT.

    What an agent says that does not know the rules (not `rules_known`) is UNSTABLE at best.
    """
    verdict = _VERDICTS.get(result.verdict, Verdict.DEVICE_FAULT)
    message = result.message
    figures = verdict in FIGURE_VERDICTS
    if figures and not (result.HasField("latency") and _sound(result)):
        verdict, message, figures = Verdict.DEVICE_FAULT, "the agent sent figures that cannot be", False
    if figures and not ask.options.xnnpack and result.runtime.delegate:
        verdict, figures = Verdict.DEVICE_FAULT, False
        message = "the agent is too old to leave XNNPACK out: install the host's version"
    evidence = tuple(_evidence(each) for each in result.evidence)
    if figures and not rules_known:
        old = Evidence(
            "agent", False, "the agent is too old to check its figures: install the host's version"
        )
        verdict, message, evidence = Verdict.UNSTABLE, old.text, (*evidence, old)
    memory = result.memory
    peaks = (memory.load_peak_kib, memory.run_peak_kib) if figures else (0, 0)
    return Measurement(
        device=device,
        device_class=ask.device_class,
        model_sha256=result.model_sha256,
        protocol_hash=result.protocol_hash,
        runtime=_runtime(result.runtime),
        verdict=verdict,
        message=message,
        fidelity=ask.fidelity,
        evidence=evidence,
        graph=_graph(result.runtime),
        latency=_latency(result.latency) if figures else None,
        peak_memory_kib=max(peaks) or None,
        load_memory_kib=peaks[0] or None,
        run_memory_kib=peaks[1] or None,
        arena_kib=memory.arena_kib if figures and memory.HasField("arena_kib") else None,
        baseline_memory_kib=memory.baseline_kib or None,
        conditions=_conditions(result.conditions),
        started_unix_ms=result.started_unix_ms,
        device_ms=result.total_ms if math.isfinite(result.total_ms) else 0.0,
        attempt=result.attempt,
    )


def device_outputs(result: measurement_pb2.MeasureResult, ask: Ask, device: str) -> DeviceOutputs:
    """Return the outputs of a result. A verdict without outputs where it needs them is a DEVICE_FAULT."""
    verdict, message, outputs = (
        _VERDICTS.get(result.verdict, Verdict.DEVICE_FAULT),
        result.message,
        result.outputs,
    )
    shape = tuple(int(extent) for extent in outputs.shape)
    if verdict in FIGURE_VERDICTS:
        width = _WIDTHS.get(outputs.dtype, 0)
        sound = outputs.count and width * outputs.count * math.prod(shape) == len(outputs.content)
        verdict = Verdict.TRUSTED if sound else Verdict.DEVICE_FAULT
        message = (
            ""
            if sound
            else "the agent sent no outputs of the examples: is it older than this host? Upgrade it"
        )
    good = verdict is Verdict.TRUSTED
    return DeviceOutputs(
        device=device,
        device_class=ask.device_class,
        model_sha256=result.model_sha256,
        examples_sha256=ask.examples,
        runtime=_runtime(result.runtime),
        verdict=verdict,
        message=message,
        shape=shape if good else (),
        dtype=outputs.dtype if good else "",
        count=outputs.count if good else 0,
        content=outputs.content if good else b"",
        attempt=result.attempt,
    )


def _runtime(runtime: measurement_pb2.RuntimeSpec) -> str:
    parts = (runtime.name, runtime.version, runtime.delegate, f"x{runtime.threads}")
    return " ".join(part for part in parts if part)


def _graph(runtime: measurement_pb2.RuntimeSpec) -> GraphFacts | None:
    if not runtime.nodes:
        return None
    return GraphFacts(runtime.nodes, runtime.delegated_nodes, runtime.partitions)


def _evidence(evidence: measurement_pb2.Evidence) -> Evidence:
    return Evidence(
        evidence.rule,
        evidence.passed,
        evidence.text,
        evidence.value if evidence.HasField("value") and math.isfinite(evidence.value) else None,
        evidence.limit if evidence.HasField("limit") and math.isfinite(evidence.limit) else None,
        evidence.preflight,
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
        set_aside=tuple(latency.set_aside[:MAX_SAMPLES]),
    )


def _conditions(conditions: measurement_pb2.Conditions) -> dict[str, float | str]:
    """Return what the device knew, by the wire's own names."""
    return {
        field.name: value if isinstance(value, str) else float(value)
        for field, value in conditions.ListFields()
        if isinstance(value, str) or math.isfinite(value)
    }
