"""`hilnas-agent join`: gets this device a certificate for a single-use token."""

import argparse
import os
import re
import ssl
import sys
import time
from pathlib import Path
from typing import Any

from hilnas_agent import credentials, handshake, openssl
from hilnas_agent.channel import OPTIONS, AddressError, split_address
from hilnas_agent.credentials import CredentialsError
from hilnas_agent.handshake import told
from hilnas_agent.openssl import CertificateFacts, OpensslError

_DENIED, _UNUSABLE = 4, 5
_CALL_S = 30.0
_LONGEST_TOKEN = 200
_VARIABLE = "HILNAS_JOIN_TOKEN"
_CLOCK = "set this device's clock (timedatectl set-ntp true) and join again"

_EPILOG = f"""\
An admin makes the token on the host: hilnas daemon token NAME prints it, and the command for this device.
It is read from standard input, a file, or the environment variable {_VARIABLE}; never from the command line,
which all users of this machine can read. The fingerprint is no secret: it is how this device knows the right host.

example:
  hilnas-agent join lab.example:50818 --token-file - --ca-fingerprint sha256:5f4d…

exit codes: 0 joined, 2 wrong arguments, 4 refused, 5 it cannot be done from here; the message says why
"""


class _RefusedError(Exception):
    """The host does not let this device in, or is not the host that it should be."""


class _UnableError(Exception):
    """It cannot be done from here."""


def main(argv: list[str]) -> int:
    """Joins; the exit code."""
    # Out of the environment, so that no process that is started here has it.
    from_environment = os.environ.pop(_VARIABLE, "")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        host, port = split_address(options.host)
        pin = _pin(options.ca_fingerprint)
    except (AddressError, ValueError) as error:
        parser.error(str(error))
    try:
        token = _token(options.token_file, from_environment)
        name, ends = _join(host, port, pin, token, options.identity or credentials.default_folder())
    except _RefusedError as error:
        print(f"hilnas-agent join: {error}", file=sys.stderr)
        return _DENIED
    except (_UnableError, CredentialsError, OpensslError) as error:
        print(f"hilnas-agent join: {error}", file=sys.stderr)
        return _UNUSABLE
    where = f" --identity {options.identity}" if options.identity else ""
    print(f"This device is {name}, by a certificate until {told(ends)} that renews itself.")
    print(f"Start the agent with: hilnas-agent --host {options.host.rpartition(':')[0]}:PORT{where}")
    print("PORT is where the host listens for devices (`listen` in its daemon.toml, 50817 by custom).")
    return 0


def _join(host: str, port: int, pin: str, token: str, folder: Path) -> tuple[str, float]:
    """The name that this device has from now on, and when its certificate ends."""
    authority = _authority(host, port, pin)
    fresh = credentials.begin(folder)
    try:
        request = openssl.make_request(fresh, "joining")
        answer = _call(host, port, authority, token, request)
        credentials.finish(fresh, answer.certificate.encode(), authority)
    except BaseException:
        credentials.discard(fresh)
        raise
    return answer.device_name, answer.not_after_unix


def _authority(host: str, port: int, pin: str) -> bytes:
    """The lab's authority (PEM), which the host shows, checked against the fingerprint."""
    try:
        chain = handshake.chain_of(host, port)
    except ssl.SSLError as error:
        raise _UnableError(
            f"{host}:{port} does not speak TLS ({error.reason or error}): dial the port for devices that join "
            "(`listen_join` in the host's daemon.toml)"
        ) from error
    except OSError as error:
        raise _UnableError(
            f"{host}:{port} cannot be reached ({error.strerror or error}): is the daemon running, with listen_join in "
            "its daemon.toml, and does no firewall stand between?"
        ) from error
    found = next((der for der in chain if handshake.fingerprint(der) == pin), None)
    if found is None:
        shown = handshake.fingerprint(chain[-1]) if chain else "none"
        raise _RefusedError(
            f"{host}:{port} is not the host that the fingerprint is of: it shows the authority {shown}, asked for is "
            f"{pin}. Compare it with what `hilnas daemon token` prints on the host; if that is right, somebody stands "
            "between. Nothing was sent"
        )
    pems = [ssl.DER_cert_to_PEM_cert(der).encode() for der in (found, chain[0])]
    _check_clock(f"{host}:{port}", [openssl.facts_of(pem) for pem in pems])
    return pems[0]


def _check_clock(host: str, shown: list[CertificateFacts]) -> None:
    now = time.time()
    begins, ends = max(each.begins for each in shown), min(each.ends for each in shown)
    if now < begins:
        raise _UnableError(
            f"the certificate of {host} begins on {told(begins)}, and this device's clock says {told(now)}: {_CLOCK}"
        )
    if now >= ends:
        raise _UnableError(
            f"the certificate of {host} ended on {told(ends)}, and this device's clock says {told(now)}: {_CLOCK}; if "
            "the clock is right, start the host's daemon anew"
        )


def _call(host: str, port: int, authority: bytes, token: str, request: str) -> Any:
    """Has the host sign the request; only a host with a certificate of that authority sees the token."""
    import grpc

    from hilnas_protos.v1 import enrol_pb2, enrol_pb2_grpc

    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(authority), options=OPTIONS)
    try:
        stub = enrol_pb2_grpc.EnrolServiceStub(channel)
        return stub.Join(enrol_pb2.JoinRequest(token=token, csr=request), timeout=_CALL_S)
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED):
            raise _RefusedError(error.details()) from error
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            found = handshake.look(host, port, authority, None)
            raise (_RefusedError if found.lasting else _UnableError)(
                found.text or f"{address} broke the connection: try again"
            ) from error
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            raise _UnableError(
                f"{address} is no port for devices that join: dial `listen_join` of the host's daemon.toml"
            ) from error
        raise _UnableError(
            f"{address} did not sign the certificate ({error.code().name}: {error.details()})"
        ) from error
    finally:
        channel.close()


def _pin(text: str) -> str:
    digits = text.lower().removeprefix("sha256:").replace(":", "")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError("--ca-fingerprint: it is sha256: and 64 hexadecimal digits, as the host printed it")
    return f"sha256:{digits}"


def _token(file: str | None, from_environment: str) -> str:
    """The token, from wherever it is; _UnableError where there is none."""
    if file is None and from_environment:
        text = from_environment
    elif file in (None, "-") and sys.stdin.isatty():
        from getpass import getpass

        text = getpass("Join token: ")
    elif file in (None, "-"):
        text = sys.stdin.readline(_LONGEST_TOKEN + 1)
    else:
        assert file is not None
        try:
            with Path(file).open(encoding="utf-8", errors="replace") as stream:
                text = stream.readline(_LONGEST_TOKEN + 1)
        except OSError as error:
            raise _UnableError(
                f"the token cannot be read from {file}: {error.strerror}; name another --token-file"
            ) from error
    text = text.strip()
    if not text or len(text) > _LONGEST_TOKEN:
        raise _UnableError(
            "there is no join token: give it by --token-file FILE, by standard input (--token-file -), or in "
            f"{_VARIABLE}; `hilnas daemon token NAME` on the host makes one"
        )
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hilnas-agent join",
        description="Gets this device a certificate, with which the agent reaches its host over TLS.",
        epilog=_EPILOG,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, width=110, max_help_position=28
        ),
    )
    add = parser.add_argument
    add("host", metavar="HOST:PORT", help="where the host listens for devices that join")
    add(
        "--ca-fingerprint",
        required=True,
        metavar="sha256:HEX",
        help="the host's authority, as the host printed it",
    )
    add(
        "--token-file",
        metavar="FILE",
        help=f"file with the token, - for standard input (default: {_VARIABLE}, or standard input)",
    )
    add(
        "--identity",
        type=Path,
        metavar="DIR",
        help=f"folder for the certificate and its key (default: {credentials.default_folder()})",
    )
    return parser
