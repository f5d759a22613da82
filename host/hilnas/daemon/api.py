"""The daemon's API on an address: its services, health and reflection."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from hilnas import __version__
from hilnas.daemon.access import Access
from hilnas.daemon.api_devices import DeviceService
from hilnas.daemon.api_farm import FarmService
from hilnas.daemon.api_searches import SearchService
from hilnas.daemon.api_tunnels import TunnelService
from hilnas.daemon.tunnels import down
from hilnas_protos.v1 import daemon_pb2 as api
from hilnas_protos.v1 import daemon_pb2_grpc

if TYPE_CHECKING:
    from hilnas.daemon.service import Daemon

_OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.max_send_message_length", 64 * 2**20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
]
_OPEN_S = 5.0
"""Streams that watch have so long to end."""


AddService = Callable[[grpc.aio.Server], object]
"""Adds a service to a server that is not yet started."""


def api_services(daemon: "Daemon", access: Access) -> list[AddService]:
    """Return the services of a daemon, for callers whom `access` lets in."""
    lab, farm, searches = daemon.lab, daemon.farm, daemon.searches
    add = daemon_pb2_grpc
    return [
        partial(add.add_DaemonServiceServicer_to_server, _DaemonService(daemon, access)),
        partial(add.add_SearchServiceServicer_to_server, SearchService(lab, searches, daemon.record, access)),
        partial(add.add_DeviceServiceServicer_to_server, DeviceService(farm, searches, access)),
        partial(add.add_TunnelServiceServicer_to_server, TunnelService(daemon.tunnels, access)),
        partial(add.add_FarmServiceServicer_to_server, FarmService(farm, searches, access)),
        _add_reflection,
    ]


def _add_reflection(server: grpc.aio.Server) -> None:
    reflection.enable_server_reflection([*_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME], server)


_NAMES = [service.full_name for service in api.DESCRIPTOR.services_by_name.values()]


class Health:
    """The standard health service, for all servers of a daemon."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()

    def add(self, server: grpc.aio.Server) -> None:
        """Add it to a server that is not yet started."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def say(self, is_serving: bool) -> None:
        """Tell whether the daemon serves."""
        status = health_pb2.HealthCheckResponse
        for name in ("", *_NAMES):
            await self._servicer.set(name, status.SERVING if is_serving else status.NOT_SERVING)


class SocketServer:
    """Serves on a Unix socket."""

    def __init__(self, services: Iterable[AddService]) -> None:
        self._server = grpc.aio.server(options=_OPTIONS)
        for add in services:
            add(self._server)
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """Listen on a Unix socket that this user and their group may open. OSError when that cannot be."""
        path.unlink(missing_ok=True)  # the folder is locked, so it is nobody's
        if len(str(path)) > 100:
            raise OSError(f"{path} is too long for a Unix socket: choose a lab folder with a shorter path")
        try:
            self._server.add_insecure_port(f"unix:{path}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on {path}: {error}") from error
        await self._server.start()
        path.chmod(0o660)
        self._path = path

    async def stop(self) -> None:
        """End all calls."""
        await self._server.stop(grace=_OPEN_S)
        if self._path is not None:
            await asyncio.to_thread(self._path.unlink, missing_ok=True)


class _DaemonService(daemon_pb2_grpc.DaemonServiceServicer):
    def __init__(self, daemon: "Daemon", access: Access) -> None:
        self._daemon, self._access = daemon, access

    async def GetStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return how the daemon does."""
        await self._access.caller(context)
        daemon = self._daemon
        jobs = list(daemon.farm.jobs.values())
        running = sum(bool(job.device) for job in jobs)
        return api.GetStatusResponse(
            version=__version__,
            started_unix=daemon.started_unix,
            agents_address=daemon.agents_address,
            api_address=daemon.api_address,
            searches=Counter(str(s.submission.status) for s in daemon.searches.all()),
            devices=Counter(str(device.state) for device in daemon.farm.devices.values()),
            jobs_waiting=len(jobs) - running,
            jobs_running=running,
            draining=daemon.draining,
            folder=str(daemon.lab.folder),
            warnings=[
                f"{name} is held back ({kept.hold}): {kept.reason}"
                for name, kept in sorted(daemon.farm.registry.kept.items())
                if kept.hold == "QUARANTINED"
            ]
            + down(daemon.tunnels),
        )
