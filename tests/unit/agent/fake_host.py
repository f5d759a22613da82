"""A host in the test's own process: a real gRPC server that scripts what an agent meets."""

import hashlib
import os
import queue
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc

from hilnas_protos.v1 import PROTOCOL_VERSION, agent_pb2, agent_pb2_grpc
from hilnas_protos.v1 import measurement_pb2 as wire
from tests.unit.agent import tiny_models

CHUNK = 64 * 1024
PATIENCE_S = 30
HOUR_MS = 3_600_000
MEASURED = (wire.VERDICT_TRUSTED, wire.VERDICT_UNSTABLE)
QUICK = wire.MeasurementProtocol(
    warmup_runs=3,
    warmup_ms=5,
    min_samples=100,
    min_sample_ms=0.2,
    min_sampling_ms=20,
    max_sampling_ms=1000,
    confidence=0.95,
    bootstrap_resamples=500,
    max_half_width=0.05,
)


class Stream:
    """One Connect stream, as the host sees it."""

    def __init__(self, hello, metadata):
        self.hello, self.metadata = hello, metadata
        self.outgoing = queue.Queue()
        self.ended = threading.Event()

    def send(self, **message):
        self.outgoing.put(agent_pb2.ConnectResponse(**message))


class FakeHost(agent_pb2_grpc.AgentServiceServicer):
    """Serves agents on a loopback port; `start` and `stop` may alternate."""

    def __init__(self, heartbeat_ms=100, max_artifact_bytes=64 << 20, port=0, socket=None):
        self.socket = socket
        self.heartbeat_ms, self.max_artifact_bytes, self.port = heartbeat_ms, max_artifact_bytes, port
        self.refusal = None
        self.protocol = PROTOCOL_VERSION
        self.artifacts, self.lies, self.cuts, self.fetches = {}, {}, {}, []
        self.fetch_metadata = []
        self.hold_fetch = threading.Event()
        self.hold_fetch.set()
        self.streams = queue.Queue()
        self.stream = None
        self.results, self.beats, self.started = queue.Queue(), queue.Queue(), queue.Queue()
        self._server = None

    @property
    def address(self):
        return f"unix:{self.socket}" if self.socket else f"127.0.0.1:{self.port}"

    def start(self):
        options = (
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
        )
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=options)
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(self.address)
        self._server.start()
        return self

    def stop(self):
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None
        if self.stream is not None:
            self.stream.outgoing.put(None)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def add(self, content):
        """Offers content as an artifact."""
        artifact = wire.Artifact(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        self.artifacts[artifact.sha256] = content
        return artifact

    def wait_stream(self):
        self.stream = self.streams.get(timeout=PATIENCE_S)
        return self.stream

    def job(self, artifact, job_id="job", **changes):
        """A job for an artifact, by the quick protocol."""
        job = wire.MeasureJob(
            job_id=job_id,
            attempt=1,
            fence=7,
            model=artifact,
            runtime=wire.RuntimeSpec(threads=1),
            protocol=QUICK,
            protocol_hash="quick",
            limits=wire.WorkerLimits(deadline_ms=20_000),
        )
        job.MergeFrom(wire.MeasureJob(**changes))
        return job

    def submit(self, job):
        self.stream.send(measure_job=job)

    def result(self):
        return self.results.get(timeout=PATIENCE_S)

    def measure(self, content, **changes):
        """Has content measured; the result."""
        self.submit(self.job(self.add(content), **changes))
        return self.result()

    def Connect(self, request_iterator, context):
        if self.refusal:
            context.abort(*self.refusal)
        hello = next(request_iterator).hello
        stream = Stream(hello, dict(context.invocation_metadata()))
        reader = threading.Thread(target=self._read, args=(request_iterator, stream), daemon=True)
        yield agent_pb2.ConnectResponse(
            welcome=agent_pb2.Welcome(
                host_version="test",
                protocol=self.protocol,
                heartbeat_ms=self.heartbeat_ms,
                max_artifact_bytes=self.max_artifact_bytes,
            )
        )
        reader.start()
        self.streams.put(stream)
        while (message := stream.outgoing.get()) is not None:
            yield message

    def _read(self, requests, stream):
        sinks = {"measure_result": self.results, "heartbeat": self.beats, "job_started": self.started}
        try:
            for request in requests:
                kind = request.WhichOneof("message")
                sinks[kind].put(getattr(request, kind))
        except Exception:  # noqa: BLE001 - the stream is over, however it ended
            pass
        stream.ended.set()
        stream.outgoing.put(None)

    def FetchArtifact(self, request, context):
        self.fetches.append((request.sha256, request.offset))
        self.fetch_metadata.append(dict(context.invocation_metadata()))
        self.hold_fetch.wait(PATIENCE_S)
        content = self.artifacts.get(request.sha256)
        if content is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no artifact {request.sha256}")
        lies = self.lies.get(request.sha256)
        if lies:
            content = lies.pop(0)
        cuts = self.cuts.get(request.sha256)
        end = cuts.pop(0) if cuts else len(content)
        yield agent_pb2.FetchArtifactResponse(size_bytes=len(content))
        for at in range(request.offset, end, CHUNK):
            yield agent_pb2.FetchArtifactResponse(chunk=content[at : min(at + CHUNK, end)])
        if end < len(content):
            context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")


class AgentProcess:
    """A real agent, with a cache of its own; what it logs is kept."""

    def __init__(self, address, directory: Path, *arguments, token="", launcher=()):
        self.cache = directory / "cache"
        self.log = directory / "agent.log"
        command = [sys.executable, "-m", "hilnas_agent", "--host", address, "--name", "bench"]
        command += ["--cache-dir", str(self.cache), *arguments]
        environment = {key: value for key, value in os.environ.items() if key != "HILNAS_TOKEN"}
        if token:
            environment["HILNAS_TOKEN"] = token
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*launcher, *command], stderr=log, stdout=log, env=environment)

    @property
    def pid(self):
        return self.process.pid

    def logged(self):
        return self.log.read_text()

    def workers(self):
        """Process ids of the workers that the agent has now."""
        return [pid for pid in children(self.pid) if "hilnas_agent.worker" in command_line(pid)]

    def wait(self):
        return self.process.wait(timeout=PATIENCE_S)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def children(pid):
    text = ""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        text += " " + path.read_text()
    return [int(child) for child in text.split()]


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(condition, seconds=PATIENCE_S):
    """Waits for a condition; the last word is the condition's own."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    return condition()


def slow_job(host, job_id="slow"):
    """Has a job started that would take an hour."""
    limits = wire.WorkerLimits(deadline_ms=HOUR_MS)
    host.submit(host.job(host.add(tiny_models.slow()), job_id, limits=limits))
    assert host.started.get(timeout=30).job_id == job_id


def assert_still_good(host):
    result = host.measure(tiny_models.good(), job_id="afterwards")
    assert result.job_id == "afterwards"
    assert result.verdict in MEASURED, result.message
