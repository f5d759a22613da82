"""AgentService: the gRPC side that agents dial."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from hilnas import __version__
from hilnas.farm.devices import OFFLINE_AFTER_S, DeviceFacts, Session
from hilnas.farm.farm import Farm
from hilnas.farm.gates import CertificateGate, Gate, TokenGate, is_this_machine
from hilnas.farm.quotas import MAX_FETCHES, MESSAGES_AT_ONCE, MESSAGES_PER_S, FetchQuota, too_much
from hilnas.security.limits import Allowance
from hilnas_protos.v1 import PROTOCOL_OLDEST, PROTOCOL_VERSION, agent_pb2, agent_pb2_grpc

if TYPE_CHECKING:
    from hilnas.security.authority import Authority

_log = logging.getLogger(__name__)

HEARTBEAT_MS = 5000
"""Time between an agent's heartbeats."""
MAX_ARTIFACT_BYTES = 64 * 2**20
"""Largest model that is sent."""
CHUNK_BYTES = 256 * 2**10
"""Bytes of an artifact in one message."""
PIECE_BYTES = 4 * CHUNK_BYTES
"""Bytes of an artifact that are read at a time."""
MAX_MESSAGE_BYTES = 4 * 2**20
"""Largest message that a device may send."""
HELLO_WITHIN_S = 20.0
"""A stream that has not said who it is by then is ended."""

_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # the default answers too_many_pings
    ("grpc.max_concurrent_streams", 256),
    ("grpc.max_metadata_size", 16 * 2**10),
    ("grpc.so_reuseport", 0),
]

AddService = Callable[[grpc.aio.Server], object]
"""Adds a further service to a server that is not yet started."""


class AgentServer:
    """Serves a farm to agents: with the token on this machine, over TLS with certificates of `authority`."""

    def __init__(self, farm: Farm, token: str = "", authority: "Authority | None" = None) -> None:
        self._farm, self._token, self._authority = farm, token, authority
        self._servers: list[grpc.aio.Server] = []

    async def start(self, listen: str) -> str:
        """Listen in clear, on this machine, and return the address with its real port. OSError when it is taken."""
        if not is_this_machine(listen):
            raise OSError(
                f"{listen} is not on this machine's loopback interface, and without TLS everybody could listen in: "
                "listen on 127.0.0.1, or over TLS (hilnas daemon init)"
            )
        return await self._start(listen, None, TokenGate(self._token), (), MAX_MESSAGE_BYTES, "farm.listen")

    async def start_tls(
        self, listen: str, services: Sequence[AddService] = (), max_message_bytes: int = MAX_MESSAGE_BYTES
    ) -> str:
        """Listen over TLS, with `services` beside, and return the address with its real port.

        Callers need certificates. `max_message_bytes` is for the services. OSError when the port is taken; SecurityError without a certificate of this host.
        """
        if self._authority is None:
            raise ValueError("an AgentServer needs an authority to listen over TLS")
        from hilnas.security.credentials import server_credentials

        credentials = server_credentials(self._authority)
        gate = CertificateGate(self._authority)
        return await self._start(listen, credentials, gate, services, max_message_bytes, "listen")

    async def _start(
        self,
        listen: str,
        credentials: grpc.ServerCredentials | None,
        gate: Gate,
        services: Sequence[AddService],
        max_message_bytes: int,
        setting: str,
    ) -> str:
        server = grpc.aio.server(options=[*_OPTIONS, ("grpc.max_receive_message_length", max_message_bytes)])
        agent_pb2_grpc.add_AgentServiceServicer_to_server(_AgentService(self._farm, gate), server)
        for add in services:
            add(server)
        try:
            port = (
                server.add_insecure_port(listen)
                if credentials is None
                else server.add_secure_port(listen, credentials)
            )
        except RuntimeError as error:
            raise OSError(f"cannot listen on {listen}: the port is taken; set {setting}") from error
        await server.start()
        self._servers.append(server)
        return f"{listen.rpartition(':')[0]}:{port}"

    async def stop(self) -> None:
        """End all streams within two seconds."""
        await asyncio.gather(*(server.stop(grace=2.0) for server in self._servers))


class _AgentService(agent_pb2_grpc.AgentServiceServicer):
    def __init__(self, farm: Farm, gate: Gate) -> None:
        self.farm = farm
        self._gate = gate
        self._fetches = FetchQuota()

    async def Connect(self, _: Any, context: Any) -> None:  # noqa: N802 - gRPC's name
        """Serve one agent's stream until either side ends it."""
        guest = await self._gate.enter(context)
        hello = await self._hello(context)
        if refusal := guest.refusal(hello.device_name):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, refusal)
        facts, session = await self._welcome(hello, context)
        self.farm.attach(facts, session, _running(hello))
        writer = asyncio.create_task(_write(context, session))
        reader = asyncio.create_task(self._read(context, facts.name, session))
        watch = asyncio.create_task(guest.outstays())
        tasks = (writer, reader, watch)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.farm.detach(facts.name, session)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._part(context, facts.name, reader, watch)

    async def FetchArtifact(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Send a model from an offset on."""
        guest = await self._gate.enter(context)
        with self._fetches.one(guest.name) as may:
            if guest.name and not may:
                await context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{guest.name} has {MAX_FETCHES} transfers open already: one more when another has ended",
                )
            try:
                file = self.farm.find(request.sha256).open("rb")
            except ValueError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except FileNotFoundError:
                await context.abort(grpc.StatusCode.NOT_FOUND, f"the host holds no artifact {request.sha256}")
            with file:
                size_bytes = os.fstat(file.fileno()).st_size
                rest = max(0, size_bytes - request.offset)
                file.seek(size_bytes - rest)
                # The size travels with the first bytes, so a small model is one message.
                if not rest:
                    yield agent_pb2.FetchArtifactResponse(size_bytes=size_bytes)
                # Everybody else waits while a disk is read, so that is done elsewhere.
                while rest > 0 and (piece := await asyncio.to_thread(file.read, min(rest, PIECE_BYTES))):
                    rest -= len(piece)
                    for start in range(0, len(piece), CHUNK_BYTES):
                        chunk = piece[start : start + CHUNK_BYTES]
                        yield agent_pb2.FetchArtifactResponse(size_bytes=size_bytes, chunk=chunk)
                        size_bytes = 0  # told once

    async def _hello(self, context: Any) -> agent_pb2.Hello:
        """Return the first message; the stream is aborted for any other, and for one that does not come."""
        reading = asyncio.ensure_future(context.read())
        done, _ = await asyncio.wait({reading}, timeout=HELLO_WITHIN_S)
        if not done:
            reading.cancel()
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"there was no Hello within {HELLO_WITHIN_S:g} s"
            )
        first = reading.result()
        if first is grpc.aio.EOF or first.WhichOneof("message") != "hello":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the first message must be Hello")
        hello: agent_pb2.Hello = first.hello
        return hello

    async def _part(
        self, context: Any, name: str, reader: "asyncio.Task[str]", watch: "asyncio.Task[str]"
    ) -> None:
        """End a stream with the reason where there is one to tell."""
        if watch.done() and not watch.cancelled() and watch.exception() is None:
            _log.warning("%s is sent away: %s", name, watch.result())
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, watch.result())
        if reader.cancelled() or reader.exception() is not None or not (text := reader.result()):
            return
        _log.warning("%s is sent away: it %s", name, text)
        self.farm.registry.faulted(self.farm.devices[name], text)
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{name} {text}: see the agent's log for why")

    async def _welcome(self, hello: agent_pb2.Hello, context: Any) -> tuple[DeviceFacts, Session]:
        """Check a Hello and answer it; the stream is aborted with the remedy when it does not fit."""
        if refusal := _refusal(hello):
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, refusal)
        if conflict := self._conflict(hello):
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, conflict)
        welcome = agent_pb2.Welcome(
            host_version=__version__,
            protocol=min(PROTOCOL_VERSION, hello.protocol_max),
            heartbeat_ms=HEARTBEAT_MS,
            max_artifact_bytes=MAX_ARTIFACT_BYTES,
        )
        await context.write(agent_pb2.ConnectResponse(welcome=welcome))
        return DeviceFacts.from_hello(hello), Session(hello.session_epoch, hello.boot_id, welcome.protocol)

    def _conflict(self, hello: agent_pb2.Hello) -> str:
        """Say why a device cannot have its name now; it may try again, since a dead stream passes."""
        known = self.farm.devices.get(hello.device_name)
        session = known.session if known else None
        if session is None:
            return ""
        alive = time.monotonic() - session.last_seen < OFFLINE_AFTER_S
        if alive and session.boot_id != hello.boot_id:
            return f'another machine is connected as "{hello.device_name}": start one of the two with --name'
        if hello.session_epoch <= session.epoch:
            return "a newer connection of this device is open: is a second agent running there?"
        return ""

    async def _read(self, context: Any, name: str, session: Session) -> str:
        """Take what a device sends until it ends, or sends too much: then return what it did."""
        quota = Allowance(MESSAGES_AT_ONCE, MESSAGES_PER_S)
        while (request := await context.read()) is not grpc.aio.EOF:
            if not quota.take():
                return f"sent more than {MESSAGES_PER_S} messages a second for some seconds"
            if request.ByteSize() > MAX_MESSAGE_BYTES:
                return f"sent a message of {request.ByteSize()} bytes, over the bound of {MAX_MESSAGE_BYTES}"
            session.last_seen = time.monotonic()
            kind = request.WhichOneof("message")
            if kind == "heartbeat":
                self.farm.devices[name].resident_kib = request.heartbeat.resident_kib
            elif kind == "job_started":
                self.farm.started(name, request.job_started.job_id)
            elif kind == "measure_result":
                self.farm.accept(name, request.measure_result)
        return ""


async def _write(context: Any, session: Session) -> None:
    while (response := await session.outgoing.get()) is not None:
        await context.write(response)


def _running(hello: agent_pb2.Hello) -> list[agent_pb2.RunningJob]:
    """Return the jobs that an agent has; an old one tells their ids alone, so no lease can be taken up."""
    told = {job.job_id: job for job in hello.running_jobs}
    return [told.get(job_id, agent_pb2.RunningJob(job_id=job_id)) for job_id in hello.running_job_ids]


def _refusal(hello: agent_pb2.Hello) -> str:
    """Say why an agent will never do, and the remedy; empty when it will."""
    if hello.protocol_max < PROTOCOL_OLDEST or hello.protocol_min > PROTOCOL_VERSION:
        return (
            f"agent {hello.agent_version} speaks protocol {hello.protocol_min} to {hello.protocol_max}, "
            f"this host {PROTOCOL_OLDEST} to {PROTOCOL_VERSION}: install hilnas {__version__} on the device"
        )
    if problem := too_much(hello):
        return problem
    if not hello.device.runtimes:
        return "the device has no inference runtime: install ai-edge-litert or tflite-runtime there"
    return ""
