"""One job, from its arrival to its result: checked, fetched, measured in a worker, judged."""

import json
import logging
import math
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from hilnas_agent import conditions, cores, limits, meter_offers, preflight, verdicts
from hilnas_agent.cache import CacheError, Held, is_digest
from hilnas_agent.evidence import Evidence, failed
from hilnas_agent.fetch import Fetcher, FetchError
from hilnas_agent.meter_offers import MeterOffer
from hilnas_agent.preflight import IdleTemperature
from hilnas_agent.process import WorkerGoneError
from hilnas_agent.runtimes import NONE, Offer
from hilnas_agent.settings import Preflight, Rules, Settings
from hilnas_agent.speed import KnownSpeed
from hilnas_protos.v1 import energy_pb2
from hilnas_protos.v1 import measurement_pb2 as wire

_log = logging.getLogger(__name__)

_DEFAULT_DEADLINE_MS = 600_000
_MOST_THREADS = 256
_SPARE_CPU_SECONDS = 10


class FaultError(Exception):
    """The device or the job's terms are to blame, not the model."""


@dataclass
class Ticket:
    """A job on its way through the agent, and its cancellation."""

    job: wire.MeasureJob
    arrived: float = field(default_factory=time.perf_counter)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _stop: Callable[[], object] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def key(self) -> tuple[str, int, int]:
        """What makes two jobs the same: id, attempt, fencing token."""
        return self.job.job_id, self.job.attempt, self.job.fence

    def is_cancelled(self) -> bool:
        """True once the job is no longer wanted."""
        return self._cancelled.is_set()

    def wait(self, seconds: float) -> object:
        """Sleeps, but not beyond a cancellation."""
        return self._cancelled.wait(seconds)

    def cancel(self) -> None:
        """Marks the job as unwanted and stops what it is doing."""
        with self._lock:
            self._cancelled.set()
            stop = self._stop
        if stop is not None:
            stop()

    def on_cancel(self, stop: Callable[[], object]) -> None:
        """Has `stop` called on cancellation; at once if that was before."""
        with self._lock:
            self._stop = stop
            late = self._cancelled.is_set()
        if late:
            stop()


@dataclass(frozen=True)
class Bench:
    """What a device brings to every job: runtimes, models, processors, memory, meters."""

    offers: Sequence[Offer]
    fetcher: Fetcher
    cpus: Sequence[int] = ()
    address_space_mib: int = 0
    idle: IdleTemperature = field(default_factory=IdleTemperature)
    speed: KnownSpeed = field(default_factory=KnownSpeed)
    meters: Sequence[MeterOffer] = ()
    no_meter: str = ""
    """Why meters that are there cannot be read."""

    def offer(self, name: str) -> Offer:
        """The runtime of that name, or the preferred one; FaultError when it is not installed here."""
        for offer in self.offers:
            if name in ("", offer.name):
                return offer
        here = ", ".join(offer.name for offer in self.offers) or "none"
        raise FaultError(f"runtime {name or '(any)'} is not installed on this device; installed: {here}")

    def measuring(self, threads: int) -> list[int]:
        """Processors for a session of so many threads; empty: all that there are."""
        return cores.pinned(self.cpus, max(1, threads))

    def look(self, limits: Preflight, threads: int) -> tuple[conditions.Reading, list[Evidence]]:
        """The state of the device, and how it suits a session of so many threads."""
        reading = conditions.read(cpus=self.measuring(threads))
        return reading, preflight.checks(limits, reading, self.measuring(threads), threads)


class Measuring(Protocol):
    """What takes one job and answers it: a worker process here, or something on a phone."""

    runtime_path: str

    def alive(self) -> bool:
        """False once it can take no job."""

    def run(
        self, job: bytes, deadline_s: float, on_taken: Callable[[], object], start_next: Callable[[], Any]
    ) -> verdicts.Ended:
        """Hands the job over and waits for the answer, the end, or the deadline."""

    def kill(self) -> None:
        """Ends what it is doing; may be called by any thread."""

    def close(self) -> None:
        """Frees what belongs to it."""


@dataclass(frozen=True)
class Hands:
    """How a job gets its worker, has the next job's started, and says that it is under way."""

    take_worker: Callable[[str], Measuring]
    start_next: Callable[[], Measuring | None]
    on_started: Callable[[], object]


def run(ticket: Ticket, bench: Bench, hands: Hands) -> tuple[wire.MeasureResult | None, Measuring | None]:
    """Result of the job (None when cancelled) and the worker that the caller must close."""
    job = ticket.job
    result = wire.MeasureResult(
        job_id=job.job_id,
        attempt=job.attempt,
        fence=job.fence,
        model_sha256=job.model.sha256,
        protocol_hash=job.protocol_hash,
    )
    worker: Measuring | None = None
    held: list[Held] = []
    try:
        offer = bench.offer(job.runtime.name)
        result.runtime.CopyFrom(wire.RuntimeSpec(name=offer.name, version=offer.version))
        result.runtime.threads = max(1, job.runtime.threads)
        _check(job)
        for artifact in _artifacts(job):
            file = _obtain(artifact, bench.fetcher, ticket, result)
            if file is None or ticket.is_cancelled():
                return None, None
            held.append(file)
        # Examples are run, not timed, so the device need not be cool and quiet.
        if not job.HasField("evaluation") and not _may_start(ticket, bench, result):
            return (None if ticket.is_cancelled() else _timed(result, ticket)), None
        worker, ended = _measure(ticket, offer, _spec(job, bench, held), hands)
        result.started_unix_ms = max(0, time.time_ns() // 1_000_000 - round(ended.seconds * 1000))
        _fill(result, ended.end, _deadline_ms(job))
        bench.speed.note(result.conditions.fixed_work_ns)
    except (FaultError, FetchError, CacheError) as error:
        result.verdict, result.message = wire.VERDICT_DEVICE_FAULT, str(error)
    finally:
        for file in held:
            file.close()
    if ticket.is_cancelled():
        return None, worker
    return _timed(result, ticket), worker


def _artifacts(job: wire.MeasureJob) -> list[wire.Artifact]:
    """The files that a job needs, its model first."""
    return [job.model, *([job.evaluation.examples] if job.HasField("evaluation") else [])]


def _obtain(
    artifact: wire.Artifact, fetcher: Fetcher, ticket: Ticket, result: wire.MeasureResult
) -> Held | None:
    """A file from the cache or from the host; None when the job is no longer wanted."""
    held = fetcher.cached(artifact)
    if held is None:
        start = time.perf_counter()
        held = fetcher.fetch(artifact, ticket)
        result.fetch_ms += (time.perf_counter() - start) * 1000
    return held


def _timed(result: wire.MeasureResult, ticket: Ticket) -> wire.MeasureResult:
    result.total_ms = (time.perf_counter() - ticket.arrived) * 1000
    return result


def _may_start(ticket: Ticket, bench: Bench, result: wire.MeasureResult) -> bool:
    """Lets the device cool and looks it over; False when that is the result already."""
    settings = _settings(ticket.job)
    if settings.preflight is None:
        return True
    cool, result.cooldown_ms = preflight.cool_down(bench.idle, settings.preflight, ticket.wait)
    lowest = bench.idle.lowest_c()
    if lowest is not None:
        result.conditions.idle_temperature_c = lowest
    reading, others = bench.look(settings.preflight, max(1, ticket.job.runtime.threads))
    if reading.cpu_pressure is not None:
        result.conditions.cpu_pressure = reading.cpu_pressure
    _add(result, [cool, *others])
    if not cool.passed:
        result.verdict, result.message = wire.VERDICT_DEFERRED_HOT, cool.text
        return False
    broken = failed(others)
    if broken and settings.preflight.refuse:
        raise FaultError("the device is not fit to measure: " + "; ".join(each.text for each in broken))
    return True


def _add(result: wire.MeasureResult, evidence: Iterable[Evidence]) -> None:
    """Adds what was seen before the session."""
    result.evidence.extend(wire.Evidence(**each.to_json(), preflight=True) for each in evidence)


@dataclass(frozen=True)
class _Run:
    end: verdicts.Ended
    seconds: float


def _measure(ticket: Ticket, offer: Offer, spec: bytes, hands: Hands) -> tuple[Measuring, _Run]:
    deadline_s = _deadline_ms(ticket.job) / 1000
    for last in (False, True):
        try:
            worker = hands.take_worker(offer.path)
        except OSError as error:
            raise FaultError(f"no worker process could be started: {error}") from error
        ticket.on_cancel(worker.kill)
        start = time.perf_counter()
        try:
            end = worker.run(spec, deadline_s, hands.on_started, hands.start_next)
        except WorkerGoneError as error:
            worker.close()
            if last:
                raise FaultError(f"no worker process stays alive: {error}") from error
            _log.info("the waiting worker was gone (%s); starting another", error)
            continue
        except BaseException:
            worker.close()
            raise
        return worker, _Run(end, time.perf_counter() - start)
    raise AssertionError("unreachable")


def _check(job: wire.MeasureJob) -> None:
    for artifact in _artifacts(job):
        if not is_digest(artifact.sha256):
            raise FaultError(f"the job's file {artifact.sha256[:80]!r} is no SHA-256 digest")
    if job.runtime.delegate not in ("", NONE):
        raise FaultError(f'the job asks for the delegate "{job.runtime.delegate}"; known are "" and "{NONE}"')
    if job.runtime.threads > _MOST_THREADS:
        raise FaultError(
            f"the job asks for {job.runtime.threads} threads, at most {_MOST_THREADS} can be had"
        )
    problem = _settings(job).problem()
    if problem is not None:
        raise FaultError(f"the job's protocol cannot be followed: {problem}")


def _settings(job: wire.MeasureJob) -> Settings:
    asked = job.protocol
    return Settings(
        **_numbers(asked),
        rules=Rules(**_numbers(asked.rules)) if asked.HasField("rules") else None,
        preflight=Preflight(**_numbers(asked.preflight)) if asked.HasField("preflight") else None,
    )


def _numbers(message: Any) -> dict[str, Any]:
    """The plain fields of a message, by name."""
    fields = message.DESCRIPTOR.fields
    return {f.name: getattr(message, f.name) for f in fields if f.message_type is None}


def _deadline_ms(job: wire.MeasureJob) -> int:
    return job.limits.deadline_ms or _DEFAULT_DEADLINE_MS


def _spec(job: wire.MeasureJob, bench: Bench, held: Sequence[Held]) -> bytes:
    threads = max(1, job.runtime.threads)
    spec: dict[str, Any] = {
        "model_path": str(held[0].path),
        "threads": threads,
        "delegate": job.runtime.delegate,
        "protocol": asdict(_settings(job)),
        "input_seed": job.input_seed,
        "cpus": bench.measuring(threads),
        "fixed_work_ns": bench.speed.best_ns,
        "address_space_mib": job.limits.address_space_mib
        or bench.address_space_mib
        or limits.default_address_space_mib(),
        "cpu_seconds": math.ceil(_deadline_ms(job) / 1000 * threads) + _SPARE_CPU_SECONDS,
    }
    if job.HasField("evaluation"):
        spec["examples_path"] = str(held[1].path)
    if job.HasField("energy"):
        meter, missing = meter_offers.choose(bench.meters, job.energy.meter, bench.no_meter)
        spec["energy"] = _numbers(job.energy)
        spec["meter"] = meter and {"path": meter.path, "argument": meter.argument, "name": meter.name}
        spec |= {"meter_missing": missing, "deadline_ms": _deadline_ms(job)}
    return json.dumps(spec).encode()


def _fill(result: wire.MeasureResult, ended: verdicts.Ended, deadline_ms: int) -> None:
    """Puts the worker's answer, or the reason why there is none, into the result."""
    if ended.payload is None:
        name, result.message = verdicts.of_end(ended, deadline_ms)
        result.verdict = wire.Verdict.Value(f"VERDICT_{name}")
        return
    try:
        head, _, raw = ended.payload.partition(b"\n")
        answer: dict[str, Any] = json.loads(head)
        filled = wire.MeasureResult(
            verdict=wire.Verdict.Value(f"VERDICT_{answer['verdict']}"),
            message=answer["message"],
            measuring_ms=answer.get("measuring_ms", 0.0),
        )
        if "latency" in answer:
            samples = array("Q", raw)
            filled.latency.CopyFrom(wire.Latency(**answer["latency"], samples_ns=samples))
            filled.memory.CopyFrom(wire.Memory(**answer["memory"]))
            filled.conditions.CopyFrom(wire.Conditions(**answer["conditions"]))
            filled.runtime.CopyFrom(wire.RuntimeSpec(**answer["runtime"]))
        if "energy" in answer:
            filled.energy.CopyFrom(_energy(answer["energy"]))
            filled.conditions.CopyFrom(wire.Conditions(**answer["conditions"]))
            filled.runtime.CopyFrom(wire.RuntimeSpec(**answer["runtime"]))
        if "outputs" in answer:
            filled.outputs.CopyFrom(wire.Outputs(**answer["outputs"], content=raw))
            filled.runtime.CopyFrom(wire.RuntimeSpec(**answer["runtime"]))
        filled.evidence.extend(wire.Evidence(**each) for each in answer.get("evidence", ()))
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        # The model runs in the worker's own memory, so a bad one can spoil the answer too.
        result.verdict, result.message = wire.VERDICT_CRASHED, f"the worker's answer makes no sense: {error}"
        return
    result.MergeFrom(filled)


def _energy(told: dict[str, Any]) -> energy_pb2.Energy:
    verdict = energy_pb2.EnergyVerdict.Value(f"ENERGY_VERDICT_{told['verdict']}")
    return energy_pb2.Energy(**{**told, "verdict": verdict})
