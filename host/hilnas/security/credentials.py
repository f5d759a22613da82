"""Credentials for gRPC: the host's, and those of whoever dials it."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509

from hilnas.security.authority import Authority
from hilnas.security.certificates import pem
from hilnas.security.errors import SecurityError
from hilnas.security.files import SECRET, write

_log = logging.getLogger(__name__)

_SHARE = 2 / 3
"""The part of its life after which a certificate is renewed."""


class ServerCertificate:
    """The host's own certificate: one file beside the authority, with key and chain, renewed by itself."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self.path = authority.folder / "server.pem"
        self._seen: tuple[int, int] | None = None
        self._pair: tuple[bytes, bytes] = (b"", b"")
        self._renew_at = 0.0

    def make(self, names_and_addresses: Sequence[str]) -> None:
        """Make it anew, for these names and addresses. SecurityError for what is neither."""
        certificate, key = self._authority.server_certificate(names_and_addresses)
        write(self.path, key + certificate, SECRET)

    def names(self) -> list[str]:
        """Return the names and addresses that it is good for. SecurityError when there is none."""
        return _names(self._certificate())

    def ends_unix(self) -> float:
        """Return when it ends, in s since the Unix epoch."""
        return self._certificate().not_valid_after_utc.timestamp()

    def pair(self) -> tuple[bytes, bytes]:
        """Return key and chain (PEM), the authority's certificate last; a new one when two thirds are over."""
        self._look()
        if self._authority.clock() >= self._renew_at:
            self.make(self.names())
            self._look()
        return self._pair

    def _look(self) -> None:
        """Read the file if it is another than before."""
        try:
            facts = self.path.stat()
        except OSError as error:
            raise self._missing() from error
        stamp = (facts.st_ino, facts.st_mtime_ns)
        if stamp == self._seen:
            return
        certificate = self._certificate()
        key, _, _ = self.path.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
        begins = certificate.not_valid_before_utc.timestamp()
        ends = certificate.not_valid_after_utc.timestamp()
        # With the authority itself in the chain a device can check it against the fingerprint that it was given.
        self._pair = (key, pem(certificate) + self._authority.certificate_pem)
        self._renew_at = begins + (ends - begins) * _SHARE
        self._seen = stamp

    def _certificate(self) -> x509.Certificate:
        try:
            return x509.load_pem_x509_certificate(self.path.read_bytes())
        except (OSError, ValueError) as error:
            raise self._missing() from error

    def _missing(self) -> SecurityError:
        return SecurityError(
            f"{self.path} holds no certificate of this host: make one with `hilnas daemon names HOST …`"
        )


def server_credentials(authority: Authority) -> grpc.ServerCredentials:
    """Return a server's credentials by which every caller needs a certificate of this lab."""
    return _server(authority, with_clients=True)


def join_credentials(authority: Authority) -> grpc.ServerCredentials:
    """Return a server's credentials by which callers need none: for those who come to get one."""
    return _server(authority, with_clients=False)


def channel_credentials(folder: Path) -> grpc.ChannelCredentials:
    """Return the credentials of a folder with cert.pem, key.pem and ca.pem. SecurityError when they are no good."""
    try:
        certificate, key, authority = (
            (folder / name).read_bytes() for name in ("cert.pem", "key.pem", "ca.pem")
        )
        ends = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    except OSError as error:
        raise SecurityError(
            f"{folder} is no identity, for {error.filename} cannot be read ({error.strerror}): name the folder that "
            "`hilnas daemon user` made"
        ) from error
    except ValueError as error:
        raise SecurityError(f"cert.pem in {folder} is no certificate: ask an admin for a new one") from error
    if ends <= datetime.now(UTC):
        raise SecurityError(
            f"the certificate in {folder} ended on {ends:%Y-%m-%d %H:%M} UTC: ask an admin for a new one "
            "(hilnas daemon user), or set this machine's clock"
        )
    return grpc.ssl_channel_credentials(authority, key, certificate)


def _server(authority: Authority, with_clients: bool) -> grpc.ServerCredentials:
    certificate = ServerCertificate(authority)

    def configuration() -> tuple[tuple[bytes, bytes], grpc.ServerCertificateConfiguration]:
        pair = certificate.pair()
        return pair, grpc.ssl_server_certificate_configuration([pair], authority.certificate_pem)

    told, first = configuration()

    def fresh() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC at each new connection: a daemon that runs for years renews its own certificate."""
        nonlocal told
        try:
            pair, found = configuration()
        except (SecurityError, OSError) as error:
            _log.error("the host goes on with the certificate that it has: %s", error)
            return None
        if pair == told:
            return None
        told = pair
        return found

    return grpc.dynamic_ssl_server_credentials(first, fresh, with_clients)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in found]
