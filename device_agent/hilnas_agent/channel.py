"""The gRPC channel to the host: where it may lead, and how it is kept."""

from typing import Any

import grpc

_OPTIONS = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # The session decides when to dial again; the channel must not hold it back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A window that grows with the link serves throughput; this process is to stay small.
    ("grpc.http2.bdp_probe", 0),
    # A proxy for the web has no business between an agent and its host.
    ("grpc.enable_http_proxy", 0),
)


class AddressError(Exception):
    """The address cannot be dialled; the message holds the remedy."""


def open_channel(address: str) -> Any:
    """A channel to a host on this machine, in clear; AddressError for any other (TLS belongs here)."""
    if not is_local(address):
        port = address.rpartition(":")[2]
        raise AddressError(
            f"{address} is not on this machine's loopback interface, and the connection is not encrypted. "
            f"Have the host open a tunnel, ssh -R {port}:127.0.0.1:{port} <this device>, "
            f"and dial --host 127.0.0.1:{port}"
        )
    return grpc.insecure_channel(address, options=_OPTIONS)


def is_local(address: str) -> bool:
    """True for Unix sockets and for host:port on the loopback interface."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    from ipaddress import ip_address

    name, _, port = address.rpartition(":")
    if not port.isdigit():
        return False
    if name == "localhost":
        return True
    try:
        return ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
