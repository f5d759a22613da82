"""Who is at the other end of a connection, by their certificate."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import grpc
from cryptography import x509
from cryptography.x509.oid import NameOID

from hilnas.security.errors import SecurityError

if TYPE_CHECKING:
    from hilnas.security.authority import Authority


class Role(StrEnum):
    """What a certificate is for."""

    DEVICE = "device"
    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True)
class Peer:
    """Somebody with a certificate."""

    name: str
    role: Role
    serial: int
    ends_unix: float = 0.0
    """When the certificate ends, in s since the Unix epoch."""


@lru_cache(maxsize=1024)
def peer_of(pem: bytes) -> Peer:
    """Read a certificate that the TLS layer has verified. SecurityError when it is none of a device or a person."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        role, name = Role(str(units[0].value)), str(names[0].value)
    except (ValueError, IndexError) as error:
        raise SecurityError(
            "the certificate names no role and no name: take one that this lab gave to a device or a person"
        ) from error
    return Peer(name, role, certificate.serial_number, certificate.not_valid_after_utc.timestamp())


def objection(peer: Peer, authority: "Authority", now: float) -> str:
    """Say why a certificate that was good no longer is, and the remedy; empty while it is."""
    again = (
        "join again (hilnas-agent join)"
        if peer.role is Role.DEVICE
        else "ask an admin for a new one (hilnas daemon user)"
    )
    try:
        revocation = authority.revocation(peer.serial)
    except SecurityError as error:
        return str(error)
    if revocation is not None:
        why = f" ({revocation.reason})" if revocation.reason else ""
        return f"the certificate of {peer.role} {peer.name} was revoked{why}: if that was wrong, {again}"
    if peer.ends_unix and now >= peer.ends_unix:
        return f"the certificate of {peer.role} {peer.name} has ended: {again}"
    return ""


async def caller(context: Any, authority: "Authority") -> Peer:
    """Return who makes a call of grpc.aio; it is aborted for whoever has no certificate that counts."""
    pems = context.auth_context().get("x509_pem_cert")
    if not pems:
        await context.abort(
            grpc.StatusCode.UNAUTHENTICATED,
            "no certificate was shown: dial over TLS with one of this lab (hilnas-agent join; hilnas daemon user)",
        )
    try:
        peer = peer_of(bytes(next(iter(pems))))
    except SecurityError as error:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
    if problem := objection(peer, authority, authority.clock()):
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, problem)
    return peer
