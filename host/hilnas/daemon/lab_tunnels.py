"""A daemon's tunnels, for a person with SSH access to boards: its key is let in there, and taken out again."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hilnas.daemon.client import TIMEOUT_S, DaemonError, Where, daemon_at
from hilnas.errors import HilnasError
from hilnas.provision.connection import Connection
from hilnas.provision.dial import Ask, nobody
from hilnas.provision.install import Progress
from hilnas.provision.kept import Hop, Kept, keep, stops_of, way_of
from hilnas.provision.target import Target
from hilnas.provision.tunnel_key import authorize, grants
from hilnas_protos.v1 import daemon_pb2 as api

UP_S = 30.0
"""A new tunnel may take so long to come up."""
_POLL_S = 0.3


@dataclass(frozen=True)
class Forgotten:
    """A tunnel that is kept no more."""

    board: str
    left: tuple[str, ...]
    """Where the key is still let in, and why, in sentences."""


class LabTunnels:
    """Tunnels of a daemon. DaemonError and ProvisionError say what did not come about."""

    def __init__(self, where: Where, sleep: Callable[[float], object] = time.sleep) -> None:
        self._where, self._sleep = where, sleep

    def all(self) -> list[Any]:
        """Return the tunnels, as the wire has them."""
        with daemon_at(self._where) as stubs:
            return list(stubs.tunnels.ListTunnels(api.ListTunnelsRequest(), timeout=TIMEOUT_S).tunnels)

    def find(self, target: Target) -> Any:
        """Return the tunnel to a board, by whatever way if there is only one; None when there is none."""
        found, way = self.all(), way_of(target)
        same = [tunnel for tunnel in found if _kept(tunnel).way == way]
        same = same or [tunnel for tunnel in found if _kept(tunnel).way[-1] == way[-1]]
        return same[0] if len(same) == 1 else None

    def port(self) -> int:
        """Return where agents dial the daemon on its own machine."""
        with daemon_at(self._where) as stubs:
            status = stubs.daemon.GetStatus(api.GetStatusRequest(), timeout=TIMEOUT_S)
        return int(status.agents_address.rpartition(":")[2])

    def keep(
        self,
        target: Target,
        port: int,
        *,
        user: str = "",
        ask: Ask = nobody,
        progress: Progress = lambda text: None,
    ) -> Any:
        """Have the daemon hold a tunnel from now on; return it once it is up, or with what keeps it down."""
        public = self._public_key()
        with Connection.open(target, ask) as board:
            progress(f"logged in to {target}")
            tunnel = keep(target, board, port)
            others = [kept for kept in map(_kept, self.all()) if kept.way != tunnel.way]
            self._let_in(target, board, public, [*others, tunnel], tunnel.hops, ask, progress)
        request = api.KeepTunnelRequest(
            port=port, user=user, hops=[api.TunnelHop(**hop.model_dump()) for hop in tunnel.hops]
        )
        with daemon_at(self._where) as stubs:
            stubs.tunnels.KeepTunnel(request, timeout=TIMEOUT_S)
        progress("waiting for the tunnel")
        return self._wait_up(tunnel)

    def forget(
        self, target: Target, *, ask: Ask = nobody, progress: Progress = lambda text: None
    ) -> Forgotten:
        """Have the daemon hold a tunnel no more, and take its key out where that can be done now."""
        found = self.find(target)
        if found is None:
            raise DaemonError(f"no tunnel to {target} is kept: see `hilnas device tunnel --list`")
        gone, public = _kept(found), self._public_key()
        with daemon_at(self._where) as stubs:
            stubs.tunnels.ForgetTunnel(api.ForgetTunnelRequest(hops=found.hops), timeout=TIMEOUT_S)
        rest, left = [_kept(tunnel) for tunnel in self.all()], []
        for place, stop in reversed(list(enumerate(_stops(target, gone)))):
            way = gone.hops[: place + 1]
            try:
                with Connection.open(stop, ask) as host:
                    authorize(host, public, grants(rest, way))
                    progress(f"the lab's key is taken out of {stop}")
            except HilnasError as error:
                left.append(
                    f"the lab's key is let in by {stop} still: take the line that ends in hilnas-tunnel-… out of "
                    f"~/.ssh/authorized_keys there ({error})"
                )
        return Forgotten(gone.told, tuple(left))

    def _let_in(
        self,
        target: Target,
        board: Connection,
        public: str,
        tunnels: list[Kept],
        hops: tuple[Hop, ...],
        ask: Ask,
        progress: Progress,
    ) -> None:
        """Let the key do on the board, and on the hosts before it, what it needs there."""
        *jumps, _ = stops_of(target)
        for place, jump in enumerate(jumps):
            with Connection.open(jump, ask) as host:
                if authorize(host, public, grants(tunnels, hops[: place + 1])):
                    progress(f"{jump} lets the lab's key through to what is behind it, and nothing else")
        if authorize(board, public, grants(tunnels, hops)):
            progress(f"{target} lets the lab's key open the port, and nothing else")

    def _public_key(self) -> str:
        with daemon_at(self._where) as stubs:
            return str(stubs.tunnels.GetTunnelKey(api.GetTunnelKeyRequest(), timeout=TIMEOUT_S).public_key)

    def _wait_up(self, tunnel: Kept) -> Any:
        ends = time.monotonic() + UP_S
        while True:
            found = next((each for each in self.all() if _kept(each).way == tunnel.way), None)
            if found is None:
                raise DaemonError(f"the tunnel to {tunnel.told} was forgotten meanwhile")
            if found.state == "UP" or time.monotonic() > ends:
                return found
            self._sleep(_POLL_S)


def _stops(target: Target, gone: Kept) -> list[Target]:
    """Return how a person reaches each host of a tunnel: as they said, or else by its own way."""
    if way_of(target) == gone.way:
        return stops_of(target)
    *jumps, board = (
        replace(target, name=hop.host, jumps=(), fingerprint="", **hop.model_dump()) for hop in gone.hops
    )
    return stops_of(replace(board, jumps=tuple(jumps)))


def _kept(tunnel: Any) -> Kept:
    hops = tuple(
        Hop(user=hop.user, host=hop.host, port=hop.port, host_key=hop.host_key) for hop in tunnel.hops
    )
    return Kept(port=tunnel.port, hops=hops)
