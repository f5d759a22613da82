"""Who may dial in as a device: with the token on this machine, with a device's certificate from elsewhere."""

import asyncio
import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import grpc

if TYPE_CHECKING:
    from hilnas.security.authority import Authority

_LOOK_EVERY_S = 2.0
"""A certificate that is revoked loses its open streams within this time."""


@dataclass(frozen=True)
class Guest:
    """Somebody who has been let in."""

    name: str = ""
    """The name of the certificate; empty for whoever came with the token."""
    problem: Callable[[], str] = lambda: ""
    """Says why they are no longer welcome; empty while they are."""

    def refusal(self, device_name: str) -> str:
        """Say why the guest cannot be that device, and the remedy; empty when it can."""
        if not self.name:
            return ""
        from hilnas.security.names import speaks_for

        if speaks_for(self.name, device_name):
            return ""
        return (
            f'the certificate is that of "{self.name}", not of "{device_name}": start the agent with --name {self.name}, '
            "or join under the other name (hilnas-agent join)"
        )

    async def outstays(self) -> str:
        """Return, once the guest is no longer welcome, why."""
        while not (problem := self.problem()):
            await asyncio.sleep(_LOOK_EVERY_S)
        return problem


class Gate(Protocol):
    """Lets callers in."""

    async def enter(self, context: Any) -> Guest:
        """Return who calls; aborts the call of one who may not."""


class TokenGate:
    """For agents that dial in on this machine's loopback interface, or through a tunnel to it."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def enter(self, context: Any) -> Guest:
        """Compare the token."""
        given = dict(context.invocation_metadata() or ()).get("hilnas-token", "")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            await _refuse(
                context,
                grpc.StatusCode.UNAUTHENTICATED,
                "the token is missing or wrong: start the agent with the host's HILNAS_TOKEN in its environment",
            )
        return Guest()


class CertificateGate:
    """For agents that dial in over TLS: the certificate says which device they are."""

    def __init__(self, authority: "Authority") -> None:
        self._authority = authority

    async def enter(self, context: Any) -> Guest:
        """Read the certificate."""
        from hilnas.security.peers import Role, caller, objection

        peer = await caller(context, self._authority)
        if peer.role is not Role.DEVICE:
            await _refuse(
                context,
                grpc.StatusCode.PERMISSION_DENIED,
                f"{peer.role} {peer.name} is no device: an agent needs a certificate of its own (hilnas-agent join)",
            )
        return Guest(peer.name, lambda: objection(peer, self._authority, self._authority.clock()))


def is_this_machine(listen: str) -> bool:
    """Can an address be reached from this machine alone?"""
    if listen.startswith(("unix:", "unix-abstract:")):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host).is_loopback
    except ValueError:
        return False


async def _refuse(context: Any, code: grpc.StatusCode, words: str) -> NoReturn:
    await context.abort(code, words)
    raise AssertionError("abort raises")
