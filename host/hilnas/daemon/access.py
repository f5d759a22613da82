"""Who calls the daemon, and what they may do."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import grpc

from hilnas.daemon.searches import SearchRequestError, UnknownSearchError
from hilnas.errors import HilnasError
from hilnas.options import OptionsError

if TYPE_CHECKING:
    from hilnas.security.authority import Authority


@dataclass(frozen=True)
class Caller:
    """Somebody who has been let in."""

    name: str
    """Empty on the socket: whoever may open it."""
    is_admin: bool


class Access(Protocol):
    """Says who calls."""

    async def caller(self, context: Any) -> Caller:
        """Return the caller; aborts the call of one who may not call at all."""


class SocketAccess:
    """The daemon's own socket: the file's permissions have let the caller in."""

    async def caller(self, context: Any) -> Caller:
        """Return an admin without a name."""
        return Caller("", is_admin=True)


class CertificateAccess:
    """Callers over TLS: their certificate says who they are."""

    def __init__(self, authority: "Authority") -> None:
        self._authority = authority

    async def caller(self, context: Any) -> Caller:
        """Return a user or an admin; aborts the call of a device."""
        from hilnas.security.peers import Role, caller

        peer = await caller(context, self._authority)
        if peer.role is Role.DEVICE:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"{peer.name} is a device: people need a certificate of their own (hilnas daemon user NAME)",
            )
        return Caller(peer.name, peer.role is Role.ADMIN)


async def admin(access: Access, context: Any) -> Caller:
    """Return the caller, who must be an admin; aborts the call otherwise."""
    caller = await access.caller(context)
    if not caller.is_admin:
        await context.abort(
            grpc.StatusCode.PERMISSION_DENIED,
            f"{caller.name} is no admin: ask one, or use an admin's certificate (hilnas daemon user NAME --admin)",
        )
    return caller


async def own(access: Access, context: Any, user: str, what: str) -> Caller:
    """Return the caller, who must be an admin or the user that something belongs to; aborts the call otherwise."""
    caller = await access.caller(context)
    if not (caller.is_admin or caller.name == user):
        await context.abort(
            grpc.StatusCode.PERMISSION_DENIED, f"{what} belongs to {user}: ask them, or an admin"
        )
    return caller


async def refuse(context: Any, error: HilnasError) -> NoReturn:
    """End a call with an error that the caller can mend."""
    code = grpc.StatusCode.FAILED_PRECONDITION
    if isinstance(error, UnknownSearchError):
        code = grpc.StatusCode.NOT_FOUND
    elif isinstance(error, OptionsError):
        code = grpc.StatusCode.INVALID_ARGUMENT
    elif not isinstance(error, SearchRequestError) and "there is no device" in str(error):
        code = grpc.StatusCode.NOT_FOUND
    await context.abort(code, str(error))
    raise AssertionError("unreachable")
