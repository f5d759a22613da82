"""The gRPC channel to the host: where it may lead, and how it is kept."""

from pathlib import Path
from typing import Any

import grpc

from hilnas_agent import credentials
from hilnas_agent.credentials import CredentialsError

OPTIONS = (
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
    ("grpc.http2.lookahead_bytes", 1 << 19),
    # A model is received by the thread that asked for it: handing each piece over costs more than a small one.
    ("SingleThreadedUnaryStream", 1),
    # A proxy for the web has no business between an agent and its host.
    ("grpc.enable_http_proxy", 0),
    # A channel that is opened anew, with a new certificate, must not take the old one's connection.
    ("grpc.use_local_subchannel_pool", 1),
)


class AddressError(Exception):
    """The address cannot be dialled; the message holds the remedy."""


def open_channel(address: str, identity_folder: Path | None = None) -> Any:
    """A channel to a host: in clear on this machine, else over TLS with the identity in that folder.

    With a folder it is TLS on this machine, too. AddressError when there is no identity for a host elsewhere.
    """
    if identity_folder is None:
        if is_local(address):
            return grpc.insecure_channel(address, options=OPTIONS)
        raise AddressError(_elsewhere(address, "no identity was given"))
    if address.startswith(("unix:", "unix-abstract:")):
        raise AddressError(f"{address} is a socket on this machine and has no TLS: leave --identity out")
    try:
        found = credentials.load(identity_folder)
    except CredentialsError as error:
        raise AddressError(_elsewhere(address, str(error))) from error
    secret = grpc.ssl_channel_credentials(found.authority, found.key, found.certificate)
    return grpc.secure_channel(address, secret, options=OPTIONS)


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


def split_address(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; AddressError for any other text."""
    name, _, port = address.rpartition(":")
    name = name.removeprefix("[").removesuffix("]")
    if not name or not port.isdigit() or not 0 < int(port) <= 65535:
        raise AddressError(f"{address!r} is no address: give the host's name and a port, such as lab:50817")
    return name, int(port)


def _elsewhere(address: str, why: str) -> str:
    port = address.rpartition(":")[2]
    return (
        f"{address} is not on this machine's loopback interface, so this device needs a certificate, and {why}. "
        "Join the lab (hilnas-agent join --help), or have the host open a tunnel, "
        f"ssh -R {port}:127.0.0.1:{port} <this device>, and dial --host 127.0.0.1:{port}"
    )
