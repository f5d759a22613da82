"""AgentService: the gRPC side that agents dial."""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from hilnas import __version__
from hilnas.farm.devices import OFFLINE_AFTER_S, DeviceFacts, Session
from hilnas.farm.farm import Farm
from hilnas_protos.v1 import PROTOCOL_OLDEST, PROTOCOL_VERSION, agent_pb2, agent_pb2_grpc

HEARTBEAT_MS = 5000
"""Time between an agent's heartbeats."""
MAX_ARTIFACT_BYTES = 64 * 2**20
"""Largest model that is sent."""
CHUNK_BYTES = 64 * 2**10
"""Bytes of an artifact in one message."""
MAX_NAME = 200
"""Longest name of a device or class."""

_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # the default answers too_many_pings
    ("grpc.max_receive_message_length", 4 * 2**20),
    ("grpc.so_reuseport", 0),
]


class AgentServer:
    """Serves a farm to agents on one address."""

    def __init__(self, farm: Farm, token: str = "") -> None:
        self._server = grpc.aio.server(options=_OPTIONS)
        agent_pb2_grpc.add_AgentServiceServicer_to_server(_AgentService(farm, token), self._server)

    async def start(self, listen: str) -> str:
        """Listen and return the address with its real port. OSError when it is taken."""
        try:
            port = self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {listen}: the port is taken; set farm.listen") from error
        await self._server.start()
        return f"{listen.rpartition(':')[0]}:{port}"

    async def stop(self) -> None:
        """End all streams within two seconds."""
        await self._server.stop(grace=2.0)


class _AgentService(agent_pb2_grpc.AgentServiceServicer):
    def __init__(self, farm: Farm, token: str) -> None:
        self.farm = farm
        self.token = token

    async def Connect(self, _: Any, context: Any) -> None:  # noqa: N802 - gRPC's name
        """Serve one agent's stream until either side ends it."""
        await self._authenticate(context)
        first = await context.read()
        if first is grpc.aio.EOF or first.WhichOneof("message") != "hello":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the first message must be Hello")
        facts, session = await self._welcome(first.hello, context)
        self.farm.attach(facts, session, _running(first.hello))
        writer = asyncio.create_task(_write(context, session))
        reader = asyncio.create_task(self._read(context, facts.name, session))
        try:
            await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.farm.detach(facts.name, session)
            for task in (writer, reader):
                task.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)

    async def FetchArtifact(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Send a model from an offset on."""
        await self._authenticate(context)
        try:
            content = self.farm.find(request.sha256).read_bytes()
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except FileNotFoundError:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"the host holds no artifact {request.sha256}")
        yield agent_pb2.FetchArtifactResponse(size_bytes=len(content))
        for start in range(request.offset, len(content), CHUNK_BYTES):
            yield agent_pb2.FetchArtifactResponse(chunk=content[start : start + CHUNK_BYTES])

    async def _authenticate(self, context: Any) -> None:
        given = dict(context.invocation_metadata() or ()).get("hilnas-token", "")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "the token is missing or wrong: start the agent with the host's HILNAS_TOKEN in its environment",
            )

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

    async def _read(self, context: Any, name: str, session: Session) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            session.last_seen = time.monotonic()
            kind = request.WhichOneof("message")
            if kind == "heartbeat":
                self.farm.devices[name].resident_kib = request.heartbeat.resident_kib
            elif kind == "job_started":
                self.farm.started(name, request.job_started.job_id)
            elif kind == "measure_result":
                self.farm.accept(name, request.measure_result)


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
    if not 0 < len(hello.device_name) <= MAX_NAME or not 0 < len(hello.device_class) <= MAX_NAME:
        return f"device name and class must have 1 to {MAX_NAME} characters: set --name and --device-class"
    if not hello.device.runtimes:
        return "the device has no inference runtime: install ai-edge-litert or tflite-runtime there"
    return ""
