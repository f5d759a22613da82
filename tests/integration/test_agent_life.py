"""The real agent process and its host: links that end, refusals, signals, parents, sockets."""

import os
import signal
import sys
from pathlib import Path

import grpc
import pytest

from hilnas_protos.v1 import measurement_pb2 as wire
from tests.unit.agent import tiny_models
from tests.unit.agent.fake_host import (
    MEASURED,
    AgentProcess,
    FakeHost,
    assert_still_good,
    children,
    running,
    slow_job,
    wait_until,
)


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


@pytest.mark.parametrize(("suffix", "torn"), [("", "zeros"), ("", "nothing"), (".part", "zeros")])
def test_what_a_power_cut_tears_in_the_cache_is_fetched_again(host, tmp_path, suffix, torn):
    content = tiny_models.good()
    artifact = host.add(content)
    with AgentProcess(host.address, tmp_path) as agent:
        host.wait_stream()
        host.submit(host.job(artifact))
        assert host.result().verdict in MEASURED
        agent.process.kill()
        agent.wait()
    # So a file system leaves what it had not written yet: the name and perhaps the size, but not the bytes.
    kept = agent.cache / artifact.sha256
    kept.write_bytes(content[:100] + bytes(len(content) - 100) if torn == "zeros" else b"")
    kept.rename(kept.with_name(kept.name + suffix))
    with AgentProcess(host.address, tmp_path) as agent:
        host.wait_stream()
        host.submit(host.job(artifact, "again"))
        result = host.result()
        assert result.verdict in MEASURED, result.message
        assert kept.read_bytes() == content
        assert not list(agent.cache.glob("*.part"))


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
        # Readable by every process of the same user, so by a model's worker.
        assert b"s3cret" not in Path(f"/proc/{agent.pid}/environ").read_bytes()


def test_the_token_is_hidden_where_the_allocator_is_set_up_by_hand(host, tmp_path, monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "3")
    with AgentProcess(host.address, tmp_path, token="s3cret") as agent:
        assert host.wait_stream().metadata["hilnas-token"] == "s3cret"
        assert b"s3cret" not in Path(f"/proc/{agent.pid}/environ").read_bytes()
        (worker,) = wait_until(agent.workers)
        assert b"MALLOC_ARENA_MAX=3" in Path(f"/proc/{worker}/environ").read_bytes()


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
