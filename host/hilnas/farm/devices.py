"""A device as the host knows it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hilnas.farm.book import Hold, KeptDevice
from hilnas_protos.v1 import PROTOCOL_VERSION, agent_pb2, device_pb2

SUSPECT_AFTER_S = 20.0
"""A device that gave no sign of life for so long gets no new job."""
OFFLINE_AFTER_S = 30.0
"""One that gave none for so long is taken off."""


class DeviceState(StrEnum):
    """Where a device stands."""

    PROBATION = "PROBATION"
    READY = "READY"
    LEASED = "LEASED"
    DRAINING = "DRAINING"
    DRAINED = "DRAINED"
    SUSPECT = "SUSPECT"
    OFFLINE = "OFFLINE"
    QUARANTINED = "QUARANTINED"
    RETIRED = "RETIRED"


@dataclass(frozen=True)
class MeterFacts:
    """An energy meter of a device."""

    name: str
    boundary: str
    """What it sees: "wall", "board", "soc" or "rails"."""
    coarse: bool = False


@dataclass(frozen=True)
class DeviceFacts:
    """What a device said of itself in Hello."""

    name: str
    device_class: str
    cpu_model: str
    machine: str
    board_model: str
    cores: int
    memory_kib: int
    os: str
    kernel: str
    python: str
    agent_version: str
    runtimes: tuple[str, ...]
    """Name and version of each, the preferred one first."""
    meters: tuple[MeterFacts, ...]
    """The device's first choice first."""

    @classmethod
    def from_hello(cls, hello: agent_pb2.Hello) -> "DeviceFacts":
        """Read a Hello."""
        device: device_pb2.DeviceInfo = hello.device
        return cls(
            name=hello.device_name,
            device_class=hello.device_class,
            cpu_model=device.cpu_model,
            machine=device.machine,
            board_model=device.board_model,
            cores=device.cores,
            memory_kib=device.memory_kib,
            os=device.os,
            kernel=device.kernel,
            python=device.python,
            agent_version=hello.agent_version,
            runtimes=tuple(f"{runtime.name} {runtime.version}" for runtime in device.runtimes),
            meters=tuple(MeterFacts(m.name, m.boundary, m.coarse) for m in device.meters),
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "DeviceFacts":
        """Read what `to_json` wrote."""
        meters = tuple(MeterFacts(**meter) for meter in data["meters"])
        return cls(**{**data, "runtimes": tuple(data["runtimes"]), "meters": meters})

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        meters = [dict(meter.__dict__) for meter in self.meters]
        return {**self.__dict__, "runtimes": list(self.runtimes), "meters": meters}

    def meter(self, name: str = "") -> MeterFacts | None:
        """Return the meter of that name, the first one when it is empty; None where there is none."""
        return next((meter for meter in self.meters if name in ("", meter.name)), None)


@dataclass
class Session:
    """One stream of an agent: what goes out on it, and when it last gave a sign of life."""

    epoch: int
    boot_id: str
    protocol: int = PROTOCOL_VERSION
    """Version of the wire that both sides speak."""
    outgoing: "asyncio.Queue[agent_pb2.ConnectResponse | None]" = field(default_factory=asyncio.Queue)
    last_seen: float = field(default_factory=time.monotonic)

    def send(self, response: agent_pb2.ConnectResponse) -> None:
        """Queue a message."""
        self.outgoing.put_nowait(response)

    def end(self, reason: str, retry_after_ms: int = 0) -> None:
        """Say goodbye and end the stream."""
        goodbye = agent_pb2.Goodbye(reason=reason, retry_after_ms=retry_after_ms)
        self.outgoing.put_nowait(agent_pb2.ConnectResponse(goodbye=goodbye))
        self.outgoing.put_nowait(None)


@dataclass
class Device:
    """A device that has dialled in, its stream if it has one, and the job it was given."""

    facts: DeviceFacts
    kept: KeptDevice
    session: Session | None = None
    job_id: str = ""
    measuring: bool = False
    """Has the job's worker started, or is the device this very machine, and there is no answer yet?"""
    busy_ms: float = 0.0
    """Time spent on jobs that ended."""
    doubt: str = ""
    """Why its figures are in doubt; empty while they are not."""
    faults: list[str] = field(default_factory=list)
    """What went wrong in the last jobs, one after the other, that the device or its link is to blame for."""
    last_search: str = ""
    resident_kib: int = 0
    """Memory of the agent's main process at its last heartbeat."""

    @property
    def name(self) -> str:
        """Return the device's name."""
        return self.facts.name

    def cancel(self, job_id: str) -> None:
        """Tell it, if it is there, that a job is not wanted any more."""
        if self.session is not None:
            self.session.send(agent_pb2.ConnectResponse(cancel_job=agent_pb2.CancelJob(job_id=job_id)))

    def let_go(self, job_id: str) -> None:
        """Take a job off it, if that is the one it has."""
        if self.job_id == job_id:
            self.job_id, self.measuring = "", False

    @property
    def state(self) -> DeviceState:
        """Return where the device stands."""
        if self.kept.hold is Hold.RETIRED:
            return DeviceState.RETIRED
        if self.session is None:
            return DeviceState.OFFLINE
        if self.kept.hold is Hold.DRAINING:
            return DeviceState.DRAINING if self.job_id else DeviceState.DRAINED
        if self.kept.hold is not Hold.NONE:
            return DeviceState(self.kept.hold.value)
        if time.monotonic() - self.session.last_seen > SUSPECT_AFTER_S:
            return DeviceState.SUSPECT
        return DeviceState.LEASED if self.job_id else DeviceState.READY
