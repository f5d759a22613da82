"""Calls a daemon: over its socket on this machine, or over TLS with a certificate."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from hilnas.daemon.lab import Lab, default_folder
from hilnas.errors import HilnasError
from hilnas_protos.v1 import daemon_pb2_grpc

_OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_http_proxy", 0),
]
TIMEOUT_S = 30.0
"""For calls that answer at once."""


class DaemonError(HilnasError, RuntimeError):
    """A daemon cannot be reached, or refuses; the message says what to do."""


class AwayError(DaemonError):
    """A daemon does not answer; it may do so a little later."""


@dataclass(frozen=True)
class Where:
    """Which daemon: that of a lab's folder on this machine, or one at an address, with an identity."""

    lab: Path | None = None
    address: str = ""
    identity: Path | None = None

    @classmethod
    def of(cls, lab: Path | None, address: str | None, identity: Path | None) -> "Where":
        """Return what was asked for, or what $HILNAS_DAEMON and $HILNAS_IDENTITY say."""
        named = identity or (Path(text) if (text := os.environ.get("HILNAS_IDENTITY", "")) else None)
        return cls(lab, (address or ("" if lab else os.environ.get("HILNAS_DAEMON", ""))), named)

    @property
    def told(self) -> str:
        """Return it in words."""
        return f"at {self.address}" if self.address else f"in {self.lab or default_folder()}"


@dataclass(frozen=True)
class Stubs:
    """The services of a daemon."""

    daemon: Any
    searches: Any
    devices: Any
    tunnels: Any


@contextmanager
def daemon_at(where: Where) -> Iterator[Stubs]:
    """Give a daemon's services.

    DaemonError where it cannot be reached, or refuses what is asked meanwhile; AwayError where it does not answer.
    """
    channel = _channel(where)
    try:
        yield Stubs(
            daemon_pb2_grpc.DaemonServiceStub(channel),
            daemon_pb2_grpc.SearchServiceStub(channel),
            daemon_pb2_grpc.DeviceServiceStub(channel),
            daemon_pb2_grpc.TunnelServiceStub(channel),
        )
    except grpc.RpcError as error:
        raise _in_words(error, where) from error
    finally:
        channel.close()


def _channel(where: Where) -> grpc.Channel:
    if where.address:
        from hilnas.security.credentials import channel_credentials

        if where.identity is None:
            raise DaemonError(
                f"the daemon at {where.address} lets nobody in without a certificate: name the folder that an admin "
                "made with `hilnas daemon user` in --identity or HILNAS_IDENTITY"
            )
        return grpc.secure_channel(where.address, channel_credentials(where.identity), options=_OPTIONS)
    socket = Lab.open(where.lab or default_folder()).socket
    if not socket.exists():
        raise AwayError(
            f"no daemon runs {where.told}: start it with `hilnas daemon`, or name another with --lab or --daemon"
        )
    return grpc.insecure_channel(f"unix:{socket}", options=_OPTIONS)


def _in_words(error: grpc.RpcError, where: Where) -> DaemonError:
    if error.code() is grpc.StatusCode.CANCELLED:
        return AwayError(f"the daemon {where.told} has ended the call: is it about to leave?")
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return AwayError(
            f"the daemon {where.told} does not answer: is it running (`systemctl status hilnas-daemon`), and may you "
            f"reach it? ({error.details()})"
        )
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DaemonError(f"the daemon {where.told} did not answer within {TIMEOUT_S:.0f} s: see its log")
    return DaemonError(error.details() or error.code().name)
