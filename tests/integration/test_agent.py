"""The real agent process against a real gRPC server."""

import os
import signal
import sys
import time
from pathlib import Path

import grpc
import pytest

from hilnas_protos.v1 import PROTOCOL_OLDEST, PROTOCOL_VERSION
from hilnas_protos.v1 import measurement_pb2 as wire
from tests.unit.agent import tiny_models
from tests.unit.agent.fake_host import CHUNK, AgentProcess, FakeHost, children, running, wait_until

MEASURED = (wire.VERDICT_TRUSTED, wire.VERDICT_UNSTABLE)
HOUR_MS = 3_600_000


@pytest.fixture
def host():
    with FakeHost() as host:
        yield host


@pytest.fixture
def agent(host, tmp_path):
    with AgentProcess(host.address, tmp_path) as agent:
        host.wait_stream()
        yield agent


def large(seed=0):
    """A good model of several chunks."""
    return tiny_models.good(side=8, channels=128, layers=3, seed=seed)


def slow_job(host, job_id="slow"):
    """Has a job started that would take an hour."""
    limits = wire.WorkerLimits(deadline_ms=HOUR_MS)
    host.submit(host.job(host.add(tiny_models.slow()), job_id, limits=limits))
    assert host.started.get(timeout=30).job_id == job_id


def assert_still_good(host):
    result = host.measure(tiny_models.good(), job_id="afterwards")
    assert result.job_id == "afterwards"
    assert result.verdict in MEASURED, result.message


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


def test_a_result_survives_the_hosts_restart(host, agent):
    epoch = host.stream.hello.session_epoch
    limits = wire.WorkerLimits(deadline_ms=1500)
    host.submit(host.job(host.add(tiny_models.slow()), "long", limits=limits))
    host.started.get(timeout=30)
    host.stop()
    host.start()
    hello = host.wait_stream().hello
    assert hello.session_epoch > epoch
    assert list(hello.running_job_ids) == ["long"]
    result = host.result()
    assert (result.job_id, result.fence, result.verdict) == ("long", 7, wire.VERDICT_TIMEOUT)
    assert_still_good(host)


def test_a_result_that_came_while_the_host_was_away_is_delivered(host, agent):
    limits = wire.WorkerLimits(deadline_ms=700)
    host.submit(host.job(host.add(tiny_models.slow()), "lonely", limits=limits))
    host.started.get(timeout=30)
    host.stop()
    assert wait_until(lambda: "job lonely: TIMEOUT" in agent.logged())
    host.start()
    assert list(host.wait_stream().hello.running_job_ids) == ["lonely"]
    assert host.result().job_id == "lonely"


def test_an_agent_started_anew_has_a_higher_epoch(host, tmp_path):
    epochs = []
    for _ in range(2):
        with AgentProcess(host.address, tmp_path):
            epochs.append(host.wait_stream().hello.session_epoch)
    assert epochs[0] < epochs[1]


def test_goodbye_with_a_time_is_obeyed(host, agent):
    ended = host.stream.ended
    host.stream.send(goodbye={"reason": "upgrade", "retry_after_ms": 50})
    assert ended.wait(30)
    host.wait_stream()
    assert_still_good(host)


def test_goodbye_for_good_ends_the_agent(host, agent):
    host.stream.send(goodbye={"reason": "retired"})
    assert agent.wait() == 0
    assert "retired" in agent.logged()


@pytest.mark.parametrize(
    ("code", "exit_code", "remedy"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, 3, "version"),
        (grpc.StatusCode.UNAUTHENTICATED, 4, "HILNAS_TOKEN"),
        (grpc.StatusCode.PERMISSION_DENIED, 4, "enrol"),
    ],
)
def test_a_refusal_ends_the_agent_with_the_hosts_words(host, tmp_path, code, exit_code, remedy):
    host.refusal = (code, "the words of the host")
    with AgentProcess(host.address, tmp_path) as agent:
        assert agent.wait() == exit_code
        assert "the words of the host" in agent.logged()
        assert remedy in agent.logged()


def test_a_host_of_another_protocol_ends_the_agent(host, tmp_path):
    host.protocol = 99
    with AgentProcess(host.address, tmp_path) as agent:
        assert agent.wait() == 3
        assert "99" in agent.logged()


def test_the_token_goes_with_every_call_and_nowhere_else(host, tmp_path):
    with AgentProcess(host.address, tmp_path, "--log-level", "debug", token="s3cret") as agent:
        stream = host.wait_stream()
        assert stream.metadata["hilnas-token"] == "s3cret"
        assert_still_good(host)
        assert all(metadata["hilnas-token"] == "s3cret" for metadata in host.fetch_metadata)
        assert host.fetch_metadata
        (worker,) = wait_until(agent.workers)
        environment = Path(f"/proc/{worker}/environ").read_bytes()
        assert b"s3cret" not in environment
        assert b"MALLOC_" not in environment
        assert "s3cret" not in agent.logged()


def test_no_token_no_metadata(host, agent):
    assert "hilnas-token" not in host.stream.metadata


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_agent_and_worker(host, agent, number):
    slow_job(host)
    workers = agent.workers()
    os.kill(agent.pid, number)
    assert agent.wait() == 0
    assert wait_until(lambda: not any(map(running, workers)))
    assert "Traceback" not in agent.logged()
    assert host.stream.ended.wait(30)


def test_workers_do_not_outlive_an_agent_that_was_killed(host, agent):
    slow_job(host)
    workers = agent.workers()
    agent.process.kill()
    agent.process.wait()
    assert wait_until(lambda: not any(map(running, workers)))


def test_an_agent_ends_with_its_parent(host, tmp_path):
    launcher = (sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))")
    with AgentProcess(host.address, tmp_path, "--exit-with-parent", launcher=launcher) as parent:
        host.wait_stream()
        (agent,) = children(parent.pid)
        parent.process.kill()
        assert wait_until(lambda: not running(agent))


def test_an_agent_whose_parent_has_ended_already_does_not_start(host, tmp_path):
    with AgentProcess(host.address, tmp_path, "--exit-with-parent", str(2**22 - 1)) as agent:
        assert agent.wait() == 0
        assert host.streams.empty()


def test_a_host_behind_a_unix_socket(tmp_path):
    with FakeHost(socket=tmp_path / "host.sock") as host, AgentProcess(host.address, tmp_path):
        host.wait_stream()
        assert_still_good(host)


def test_an_agent_waits_for_a_host_that_is_not_there_yet(host, tmp_path):
    host.stop()
    with AgentProcess(host.address, tmp_path) as agent:
        assert wait_until(lambda: "no connection to the host" in agent.logged())
        host.start()
        host.wait_stream()
        assert_still_good(host)
