"""EnrolService: how a device comes to its certificate, and to the next one."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import grpc

from hilnas.security.authority import DEVICE_DAYS, Authority
from hilnas.security.certificates import requested_key
from hilnas.security.credentials import join_credentials
from hilnas.security.errors import SecurityError, TokenError
from hilnas.security.limits import Allowance, Allowances
from hilnas.security.peers import Peer, Role, caller, peer_of
from hilnas.security.tokens import JoinTokens
from hilnas_protos.v1 import enrol_pb2, enrol_pb2_grpc

_log = logging.getLogger(__name__)

PER_ADDRESS = 10
"""Joins that fail, and renewals of one device, that are answered in a minute."""
OVERALL = 60
"""Joins that fail, from all addresses together, that are answered in a minute."""

Joined = Callable[[str, str], object]


class EnrolService(enrol_pb2_grpc.EnrolServiceServicer):
    """Signs devices' keys: `Join` for a token, `Renew` for the certificate that a device has.

    `joined` is told name and class of each device that has joined, on the event loop.
    """

    def __init__(
        self,
        authority: Authority,
        tokens: JoinTokens,
        joined: Joined = lambda name, device_class: None,
        days: float = DEVICE_DAYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authority, self._tokens, self._joined, self._days = authority, tokens, joined, days
        self._each = Allowances(PER_ADDRESS, PER_ADDRESS / 60, clock)
        self._all = Allowance(OVERALL, OVERALL / 60, clock)

    async def Join(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Sign a new device's key."""
        address = _address(context.peer())
        each = self._each.of(f"address {address}")
        if not (each.take() and self._all.take()):
            _log.warning("too many attempts to join, lately from %s", address)
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many attempts to join: try again in a minute"
            )
        try:
            name, device_class, signed = await asyncio.to_thread(
                self._redeem, request.token, request.csr.encode()
            )
        except TokenError as error:
            _log.warning("a device at %s was not let in: %s", address, error)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except SecurityError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        # Only what fails can be a guess.
        each.give_back()
        self._all.give_back()
        self._joined(name, device_class)
        _log.info("device %s joined from %s", name, address)
        return self._answer(signed)

    async def Renew(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Sign a new key of a device that has a certificate."""
        peer = await caller(context, self._authority)
        if peer.role is not Role.DEVICE:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"{peer.role} {peer.name} is no device: people get new certificates by `hilnas daemon user`",
            )
        if not self._each.of(f"device {peer.name}").take():
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{peer.name} renews too often: try again in a minute"
            )
        try:
            signed = await asyncio.to_thread(self._renew, peer, request.csr.encode())
        except SecurityError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if not signed:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, f"the certificate of {peer.name} was revoked just now"
            )
        _log.info("device %s has a new certificate", peer.name)
        return self._answer(signed)

    def _redeem(self, token: str, csr: bytes) -> tuple[str, str, bytes]:
        requested_key(csr)  # a request that is no good must not use a token up
        name, device_class = self._tokens.redeem(token)
        return name, device_class, self._authority.sign(csr, Role.DEVICE, name, self._days)

    def _renew(self, peer: Peer, csr: bytes) -> bytes:
        """Sign for the name and role of the caller's certificate, whatever the request says; b"" if it is revoked."""
        signed = self._authority.sign(csr, Role.DEVICE, peer.name, self._days)
        if self._authority.is_revoked(peer.serial):
            # Revoked while it was signed: the new one must not escape.
            fresh = peer_of(signed).serial
            if not self._authority.is_revoked(fresh):
                self._authority.revoke(fresh, "its device was revoked")
            return b""
        return signed

    def _answer(self, signed: bytes) -> enrol_pb2.Certificate:
        peer = peer_of(signed)
        return enrol_pb2.Certificate(
            certificate=signed.decode(),
            authority=self._authority.certificate_pem.decode(),
            device_name=peer.name,
            not_after_unix=int(peer.ends_unix),
        )


class JoinServer:
    """Serves `Join`, and nothing else, to devices that have no certificate yet."""

    def __init__(self, service: EnrolService, authority: Authority) -> None:
        self._authority = authority
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", 64 * 2**10),
                ("grpc.max_concurrent_streams", 4),
                ("grpc.so_reuseport", 0),
            ]
        )
        enrol_pb2_grpc.add_EnrolServiceServicer_to_server(service, self._server)

    async def start(self, listen: str) -> str:
        """Listen and return the address with its real port. OSError when it is taken."""
        try:
            port = self._server.add_secure_port(listen, join_credentials(self._authority))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {listen}: the port is taken; set listen_join") from error
        await self._server.start()
        return f"{listen.rpartition(':')[0]}:{port}"

    async def stop(self) -> None:
        """End it within two seconds."""
        await self._server.stop(grace=2.0)


def _address(peer: str) -> str:
    """Return the address of gRPC's "ipv4:192.0.2.7:4711" without the port."""
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer
