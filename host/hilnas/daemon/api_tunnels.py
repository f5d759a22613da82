"""TunnelService: the tunnels that a daemon holds, for people and scripts."""

import time
from typing import Any, NoReturn

import grpc

from hilnas.daemon.access import Access, admin, refuse
from hilnas.daemon.tunnels import Held, Tunnels
from hilnas.errors import HilnasError
from hilnas.options import parse_options
from hilnas.provision.kept import Kept
from hilnas_protos.v1 import daemon_pb2 as api
from hilnas_protos.v1 import daemon_pb2_grpc


class TunnelService(daemon_pb2_grpc.TunnelServiceServicer):
    """Serves a daemon's tunnels."""

    def __init__(self, tunnels: Tunnels, access: Access) -> None:
        self._tunnels, self._access = tunnels, access

    async def ListTunnels(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return all tunnels."""
        await self._access.caller(context)
        return api.ListTunnelsResponse(tunnels=[_view(held) for held in self._tunnels.all()])

    async def GetTunnelKey(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return the public key."""
        await admin(self._access, context)
        try:
            return api.GetTunnelKeyResponse(public_key=self._tunnels.book.public_key())
        except (HilnasError, OSError) as error:
            await _told(context, error)

    async def KeepTunnel(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Hold a tunnel."""
        caller = await admin(self._access, context)
        hops = [
            {"user": hop.user, "host": hop.host, "port": hop.port, "host_key": hop.host_key}
            for hop in request.hops
        ]
        asked = {
            "port": request.port,
            "hops": hops,
            "by": caller.name or request.user[:64],
            "at_unix": time.time(),
        }
        try:
            return _view(self._tunnels.keep(parse_options(Kept, asked, "")))
        except (HilnasError, OSError) as error:
            await _told(context, error)

    async def ForgetTunnel(self, request: Any, context: Any) -> Any:  # noqa: N802
        """End a tunnel."""
        await admin(self._access, context)
        way = tuple((hop.user, hop.host, hop.port) for hop in request.hops)
        try:
            found = self._tunnels.forget(way)
        except (HilnasError, OSError) as error:
            await _told(context, error)
        if found is None:
            board = f"{way[-1][0]}@{way[-1][1]}" if way else "no host at all"
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"no tunnel to {board} is kept: see `hilnas device tunnel --list`"
            )
        assert found is not None
        return _view(found)


async def _told(context: Any, error: Exception) -> NoReturn:
    told = (
        error if isinstance(error, HilnasError) else HilnasError(f"the lab's folder cannot be used: {error}")
    )
    await refuse(context, told)


def _view(held: Held) -> Any:
    """Return a tunnel as the wire has it."""
    kept, tunnel = held.kept, held.tunnel
    return api.Tunnel(
        board=kept.board,
        port=kept.port,
        hops=[
            api.TunnelHop(user=hop.user, host=hop.host, port=hop.port, host_key=hop.host_key)
            for hop in kept.hops
        ],
        state="UP" if tunnel.is_up else "DOWN",
        since_unix=tunnel.since_unix,
        message=tunnel.state,
        kept_by=kept.by,
        kept_unix=kept.at_unix,
    )
