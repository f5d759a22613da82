"""The real agent process against a real gRPC server."""

import os
import signal
import time

import pytest

from hilnas_protos.v1 import PROTOCOL_OLDEST, PROTOCOL_VERSION
from hilnas_protos.v1 import measurement_pb2 as wire
from tests.unit.agent import tiny_models
from tests.unit.agent.fake_host import (
    CHUNK,
    MEASURED,
    AgentProcess,
    assert_still_good,
    running,
    slow_job,
    wait_until,
)


def large(seed=0):
    """A good model of several chunks."""
    return tiny_models.good(side=8, channels=128, layers=3, seed=seed)


def test_the_hello_tells_what_the_device_is(host, agent):
    hello = host.stream.hello
    assert (hello.protocol_min, hello.protocol_max) == (PROTOCOL_OLDEST, PROTOCOL_VERSION)
    assert hello.device_name == "bench"
    assert hello.device_class
    assert hello.boot_id
    assert hello.session_epoch > 0
    assert hello.agent_version
    assert list(hello.running_job_ids) == []
    assert hello.device.cores == len(os.sched_getaffinity(0))
    assert hello.device.memory_kib > 0
    assert hello.device.runtimes[0].name == "ai-edge-litert"
    assert list(hello.device.meters) == []


def test_a_job_is_measured_and_its_model_kept(host, agent):
    first = host.measure(tiny_models.good(), job_id="first")
    assert first.verdict in MEASURED, first.message
    assert (first.job_id, first.attempt, first.fence, first.protocol_hash) == ("first", 1, 7, "quick")
    assert len(first.latency.samples_ns) >= 100
    assert 0 < first.latency.low_ms <= first.latency.median_ms <= first.latency.high_ms
    assert first.latency.load_ms > 0
    assert first.latency.first_ms > 0
    assert first.runtime.name == "ai-edge-litert"
    assert first.runtime.version
    assert first.runtime.threads == 1
    assert first.runtime.delegate == "xnnpack"
    assert first.memory.run_peak_kib > 0
    assert first.HasField("conditions")
    assert first.fetch_ms > 0
    assert 0 < first.measuring_ms < first.total_ms
    assert abs(first.started_unix_ms / 1000 - time.time()) < 60
    assert host.started.get(timeout=30).job_id == "first"

    second = host.measure(tiny_models.good(), job_id="second")
    assert second.verdict in MEASURED
    assert second.fetch_ms == 0
    assert len(host.fetches) == 1
    beat = host.beats.get(timeout=30)
    assert beat.resident_kib > 1000


def test_the_runtime_and_the_threads_asked_for_are_used(host, agent):
    spec = wire.RuntimeSpec(name="tflite-runtime", threads=2)
    result = host.measure(tiny_models.good(), runtime=spec)
    assert result.verdict in MEASURED, result.message
    assert (result.runtime.name, result.runtime.threads, result.runtime.delegate) == ("tflite-runtime", 2, "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runtime": wire.RuntimeSpec(name="no-such-runtime")}, "installed: ai-edge-litert"),
        ({"model": wire.Artifact(sha256="../../../etc/passwd")}, "no SHA-256 digest"),
        ({"model": wire.Artifact(sha256="0" * 64)}, "refused"),
        ({"protocol": wire.MeasurementProtocol(confidence=2.0)}, "confidence"),
        ({"runtime": wire.RuntimeSpec(threads=100_000)}, "threads"),
        ({"model": wire.Artifact(size_bytes=1 << 40)}, "bound"),
    ],
)
def test_a_job_that_cannot_be_done_is_the_devices_fault(host, agent, changes, words):
    result = host.measure(tiny_models.good(), **changes)
    assert result.verdict == wire.VERDICT_DEVICE_FAULT
    assert words in result.message
    assert_still_good(host)


def test_a_torn_transfer_goes_on_where_it_was_cut(host, agent):
    artifact = host.add(large())
    cuts = [CHUNK + 100, 2 * CHUNK + 5]
    host.cuts[artifact.sha256] = list(cuts)
    host.submit(host.job(artifact))
    assert host.result().verdict in MEASURED
    assert host.fetches == [(artifact.sha256, offset) for offset in (0, *cuts)]
    assert (agent.cache / artifact.sha256).read_bytes() == large()
    assert not list(agent.cache.glob("*.part"))


def test_wrong_content_is_fetched_once_more_and_then_believed(host, agent):
    artifact = host.add(large())
    host.lies[artifact.sha256] = [bytes(len(large()))]
    host.submit(host.job(artifact))
    assert host.result().verdict in MEASURED
    assert host.fetches == [(artifact.sha256, 0)] * 2


def test_content_that_stays_wrong_is_never_kept(host, agent):
    artifact = host.add(large())
    host.lies[artifact.sha256] = [bytes(len(large()))] * 2
    host.submit(host.job(artifact))
    result = host.result()
    assert result.verdict == wire.VERDICT_DEVICE_FAULT
    assert artifact.sha256 in result.message
    assert [path.name for path in agent.cache.iterdir()] == ["epoch"]
    assert_still_good(host)


def test_another_size_than_the_jobs_is_refused_before_anything_is_written(host, agent):
    artifact = host.add(large())
    artifact.size_bytes -= 1
    host.submit(host.job(artifact))
    result = host.result()
    assert result.verdict == wire.VERDICT_DEVICE_FAULT
    assert "declares" in result.message
    assert not (agent.cache / artifact.sha256).exists()


def test_a_model_over_the_quota_is_refused(host, tmp_path):
    with AgentProcess(host.address, tmp_path, "--cache-mib", "1"):
        host.wait_stream()
        result = host.measure(bytes(2 << 20))
        assert result.verdict == wire.VERDICT_DEVICE_FAULT
        assert "--cache-mib" in result.message
        assert host.fetches == []


def test_models_that_go_wrong_harm_nobody_else(host, agent):
    before = agent.pid
    limits = wire.WorkerLimits(deadline_ms=20_000, address_space_mib=1500)
    cases = [
        (tiny_models.unsupported_custom_op(), {}, wire.VERDICT_UNSUPPORTED_OP),
        (tiny_models.torn(), {}, wire.VERDICT_INVALID_MODEL),
        (tiny_models.EIGHT_BYTES, {}, wire.VERDICT_INVALID_MODEL),
        (tiny_models.huge(), {"limits": limits}, wire.VERDICT_OUT_OF_MEMORY),
        (tiny_models.slow(), {"limits": wire.WorkerLimits(deadline_ms=500)}, wire.VERDICT_TIMEOUT),
    ]
    for number, (content, changes, verdict) in enumerate(cases):
        result = host.measure(content, job_id=str(number), **changes)
        assert (result.job_id, result.verdict) == (str(number), verdict), result.message
        assert result.message
        assert not result.HasField("latency")
        assert_still_good(host)
    assert agent.pid == before
    assert running(agent.pid)


@pytest.mark.parametrize(
    ("number", "verdict"),
    [(signal.SIGKILL, wire.VERDICT_OUT_OF_MEMORY), (signal.SIGSEGV, wire.VERDICT_CRASHED)],
)
def test_a_worker_killed_by_another(host, agent, number, verdict):
    slow_job(host)
    (worker,) = agent.workers()
    os.kill(worker, number)
    result = host.result()
    assert result.verdict == verdict
    assert number.name in result.message
    assert_still_good(host)


def test_a_waiting_worker_that_died_is_replaced(host, agent):
    (spare,) = wait_until(agent.workers)
    os.kill(spare, signal.SIGKILL)
    assert_still_good(host)
    (fresh,) = wait_until(agent.workers)
    assert fresh != spare


def test_a_cancelled_job_sends_no_result(host, agent):
    slow_job(host)
    (worker,) = agent.workers()
    host.submit(host.job(host.add(tiny_models.good()), "waiting"))
    host.stream.send(cancel_job={"job_id": "waiting"})
    host.stream.send(cancel_job={"job_id": "slow"})
    assert wait_until(lambda: not running(worker))
    assert_still_good(host)
    assert host.results.empty()


def test_a_cancelled_transfer_ends(host, agent):
    host.hold_fetch.clear()
    host.submit(host.job(host.add(large()), "stuck"))
    assert wait_until(lambda: host.fetches)
    host.stream.send(cancel_job={"job_id": "stuck"})
    host.hold_fetch.set()
    assert_still_good(host)
    assert host.results.empty()


def test_jobs_wait_in_order_and_one_too_many_is_refused(host, agent):
    slow_job(host)
    artifact = host.add(tiny_models.good())
    for number in range(5):
        host.submit(host.job(artifact, str(number)))
    refused = host.result()
    assert (refused.job_id, refused.verdict) == ("4", wire.VERDICT_DEVICE_FAULT)
    host.submit(host.job(artifact, "0"))
    host.stream.send(cancel_job={"job_id": "slow"})
    assert [host.result().job_id for _ in range(4)] == ["0", "1", "2", "3"]
    assert_still_good(host)


LONG = wire.MeasurementProtocol(
    warmup_runs=3, warmup_ms=5, min_samples=100, min_sample_ms=0.2, min_sampling_ms=2000, max_sampling_ms=2000,
    confidence=0.95, bootstrap_resamples=500, max_half_width=0.05,
)  # fmt: skip


def test_the_next_worker_starts_beside_a_measurement_only_where_jobs_come_back_to_back(host, agent):
    artifact = host.add(tiny_models.good())
    assert wait_until(lambda: len(agent.workers()) == 1)
    for name, workers in (("after a pause", 1), ("at once", 2)):
        job = host.job(artifact, name)
        job.protocol.CopyFrom(LONG)
        host.submit(job)
        assert host.started.get(timeout=30).job_id == name
        time.sleep(1.0)
        assert len(agent.workers()) == workers
        assert host.result().job_id == name
