"""The connection out to the host: dial, Hello, heartbeats, jobs in, results out, dial again."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from hilnas_agent import __version__, memory
from hilnas_agent.fetch import Fetcher
from hilnas_agent.outbox import Outbox
from hilnas_agent.runner import Runner
from hilnas_protos.v1 import PROTOCOL_OLDEST, PROTOCOL_VERSION, agent_pb2, device_pb2

_log = logging.getLogger(__name__)

OK, REFUSED, DENIED = 0, 3, 4
"""Exit codes: left as asked; the host does not speak with this version; the host does not know us."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_WELCOME_S = 20.0
_LEAVING_S = 1.0
_DEFAULT_HEARTBEAT_MS = 10_000

_REFUSALS = {
    grpc.StatusCode.FAILED_PRECONDITION: (REFUSED, "install the agent version that the host asks for"),
    grpc.StatusCode.UNAUTHENTICATED: (
        DENIED,
        "put the host's token into the environment variable HILNAS_TOKEN",
    ),
    grpc.StatusCode.PERMISSION_DENIED: (
        DENIED,
        "enrol this device on the host (hilnas-agent join), or give the right HILNAS_TOKEN",
    ),
}


@dataclass(frozen=True)
class Identity:
    """Who dials: the fields of Hello that stay the same."""

    device_name: str
    device_class: str
    boot_id: str
    device: device_pb2.DeviceInfo


class Backoff:
    """Pauses between dials, in s: doubling from 0.2 to 10, jittered to between half and all of it."""

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        self._draw = draw
        self._next = _FIRST_PAUSE_S

    def pause(self) -> float:
        """The next pause."""
        pause, self._next = self._next, min(_LONGEST_PAUSE_S, self._next * 2)
        return self._draw(pause / 2, pause)

    def reset(self) -> None:
        """The host has answered: begin anew."""
        self._next = _FIRST_PAUSE_S


class Epochs:
    """Numbers for streams that grow, over restarts too, and when the clock has gone back.

    A board without a battery-backed clock starts in the past, so the last number is on disk.
    """

    def __init__(self, path: Path, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._path, self._clock_ns, self._last = path, clock_ns, 0

    def next(self) -> int:
        """A number larger than every one before."""
        try:
            stored = int(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            stored = 0
        self._last = max(self._clock_ns(), stored + 1, self._last + 1)
        try:
            fresh = self._path.with_suffix(".new")
            fresh.write_text(str(self._last), encoding="ascii")
            fresh.replace(self._path)
        except OSError as error:
            _log.warning("cannot keep the session number in %s: %s", self._path, error.strerror)
        return self._last


class Session:
    """Keeps one stream to the host at a time. `stub` is an AgentServiceStub; every call has `metadata`.

    `trouble` is asked when the host cannot be reached: what a person must do first, or nothing.
    """

    def __init__(
        self,
        stub: Any,
        metadata: tuple[tuple[str, str], ...],
        *,
        identity: Identity,
        epochs: Epochs,
        runner: Runner,
        outbox: Outbox,
        fetcher: Fetcher,
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        self._stub, self._metadata = stub, metadata
        self._identity, self._epochs = identity, epochs
        self._runner, self._outbox, self._fetcher = runner, outbox, fetcher
        self._trouble = trouble
        self._backoff = Backoff()
        self._call: Any = None
        self._welcomed = False
        self._heartbeat_s = _DEFAULT_HEARTBEAT_MS / 1000
        self._over = threading.Event()

    def run(self) -> int:
        """Serves the host until it sends us away for good or refuses us; the exit code."""
        while True:
            pause, code = self._serve_stream()
            if code is not None:
                return code
            if self._over.wait(self._backoff.pause() if pause is None else pause):
                return OK

    def end(self) -> None:
        """Leaves for good, from another thread: `run` returns soon after."""
        self._over.set()
        self.leave()
        call = self._call
        if call is not None:
            call.cancel()

    def leave(self) -> None:
        """Sends what is still to be sent, ends the stream, and does not wait longer than a second."""
        call = self._call
        if call is None or not self._welcomed:
            return
        self._outbox.finish()
        ends_at = time.monotonic() + _LEAVING_S
        while call.is_active() and time.monotonic() < ends_at:
            time.sleep(0.01)
        call.cancel()

    def _serve_stream(self) -> tuple[float | None, int | None]:
        """One stream from dial to end: (pause before the next in s, or None for the backoff's; exit code)."""
        self._welcomed = False
        number = self._outbox.new_stream()
        try:
            self._call = self._stub.Connect(self._requests(number), metadata=self._metadata)
            if self._over.is_set():
                self._call.cancel()
            for response in self._call:
                kind = response.WhichOneof("message")
                if kind == "goodbye":
                    return self._goodbye(response.goodbye)
                if kind == "welcome":
                    if not self._welcome(response.welcome):
                        return None, REFUSED
                elif not self._welcomed:
                    _log.warning("the host sent %s before Welcome; ignored", kind)
                elif kind == "measure_job":
                    self._runner.submit(response.measure_job)
                elif kind == "cancel_job":
                    self._runner.cancel(response.cancel_job.job_id)
            _log.info("the host ended the stream; dialling again")
        except grpc.RpcError as error:
            if error.code() in _REFUSALS:
                code, remedy = _REFUSALS[error.code()]
                _log.error("the host refuses this agent: %s (remedy: %s)", error.details(), remedy)
                return None, code
            if error.code() is grpc.StatusCode.UNAVAILABLE and (trouble := self._trouble()):
                _log.error("the host cannot be dialled: %s", trouble)
                return None, DENIED
            _log.warning(
                "no connection to the host (%s: %s); dialling again", error.code().name, error.details()
            )
        finally:
            self._outbox.broken()
        return None, None

    def _requests(self, number: int) -> Iterator[agent_pb2.ConnectRequest]:
        """What goes up on one stream; gRPC draws from it on a thread of its own."""
        yield agent_pb2.ConnectRequest(hello=self._hello())
        welcome_by = time.monotonic() + _WELCOME_S
        beat_at: float | None = None
        while True:
            try:
                message = self._outbox.take(number, (beat_at or welcome_by) - time.monotonic())
            except EOFError:
                return
            if message is not None:
                yield message
            now = time.monotonic()
            if not self._welcomed:
                if now >= welcome_by:
                    _log.warning("the host did not answer Hello within %.0f s", _WELCOME_S)
                    self._call.cancel()
                    return
            elif beat_at is None or now >= beat_at:
                if beat_at is not None:
                    yield self._heartbeat()
                beat_at = now + self._heartbeat_s

    def _hello(self) -> agent_pb2.Hello:
        leases = [*self._runner.leases(), *self._outbox.undelivered()]
        jobs = [
            agent_pb2.RunningJob(job_id=job, attempt=attempt, fence=fence) for job, attempt, fence in leases
        ]
        return agent_pb2.Hello(
            agent_version=__version__,
            protocol_min=PROTOCOL_OLDEST,
            protocol_max=PROTOCOL_VERSION,
            device_name=self._identity.device_name,
            device_class=self._identity.device_class,
            device=self._identity.device,
            boot_id=self._identity.boot_id,
            session_epoch=self._epochs.next(),
            running_job_ids=[job.job_id for job in jobs],
            running_jobs=jobs,
        )

    def _heartbeat(self) -> agent_pb2.ConnectRequest:
        beat = agent_pb2.Heartbeat(resident_kib=memory.resident_kib(), running_job_id=self._runner.running())
        return agent_pb2.ConnectRequest(heartbeat=beat)

    def _welcome(self, welcome: agent_pb2.Welcome) -> bool:
        if not PROTOCOL_OLDEST <= welcome.protocol <= PROTOCOL_VERSION:
            _log.error(
                "the host speaks protocol %d, this agent %d to %d: install an agent of the host's version %s",
                welcome.protocol, PROTOCOL_OLDEST, PROTOCOL_VERSION, welcome.host_version,
            )  # fmt: skip
            return False
        _log.info("connected to host %s as %s", welcome.host_version, self._identity.device_name)
        self._heartbeat_s = (welcome.heartbeat_ms or _DEFAULT_HEARTBEAT_MS) / 1000
        if welcome.max_artifact_bytes:
            self._fetcher.max_bytes = welcome.max_artifact_bytes
        self._backoff.reset()
        self._welcomed = True
        self._outbox.welcome()
        return True

    def _goodbye(self, goodbye: agent_pb2.Goodbye) -> tuple[float | None, int | None]:
        if goodbye.retry_after_ms == 0:
            _log.info("the host sends this agent away: %s", goodbye.reason or "no reason given")
            return None, OK
        _log.info("the host leaves (%s); back in %d ms", goodbye.reason, goodbye.retry_after_ms)
        self.leave()
        return goodbye.retry_after_ms / 1000, None
