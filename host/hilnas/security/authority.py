"""The lab's certificate authority: a folder with its key, what it has signed, and what it has revoked."""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hilnas.security import certificates
from hilnas.security.errors import SecurityError
from hilnas.security.files import PUBLIC, SECRET, private_folder, write
from hilnas.security.ledger import SERVER, Issued, Ledger, Revocation
from hilnas.security.names import check_name
from hilnas.security.peers import Role

DAY_S = 86_400.0
AUTHORITY_DAYS = 3653.0
DEVICE_DAYS = 30.0
SERVER_DAYS = 365.0
BACKDATED_S = 3600.0
"""Certificates begin so long before they are made, for boards whose clocks are behind; of a short one, a tenth."""


class Authority:
    """Signs, revokes, and tells what it has signed. Several processes may use one folder.

    A folder holds ca.pem, ca.key (for its owner alone), issued.jsonl and revoked.json.
    """

    def __init__(
        self,
        folder: Path,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder, self.clock = folder, clock
        self._certificate, self._key = certificate, key
        self._ledger = Ledger(folder, clock)

    @classmethod
    def create(cls, folder: Path, name: str, clock: Callable[[], float] = time.time) -> "Authority":
        """Make an authority in a folder. SecurityError when there is one already; it is never overwritten."""
        private_folder(folder)
        if any((folder / file).exists() for file in ("ca.pem", "ca.key")):
            raise SecurityError(
                f"{folder} holds an authority already, by which all devices and people are known: use it, or name "
                "another folder"
            )
        folder.chmod(0o700)
        now = clock()
        key = certificates.new_key()
        certificate = certificates.authority_certificate(
            key, check_name(name), now - BACKDATED_S, now + AUTHORITY_DAYS * DAY_S
        )
        authority = cls(folder, certificate, key, clock)
        authority._ledger.begin()
        write(folder / "ca.key", certificates.key_pem(key), SECRET)
        # Last: an authority is there once its certificate is.
        write(folder / "ca.pem", certificates.pem(certificate), PUBLIC)
        return authority

    @classmethod
    def open(cls, folder: Path, clock: Callable[[], float] = time.time) -> "Authority":
        """Read an authority. SecurityError when there is none, or it cannot be used."""
        try:
            certificate_pem = (folder / "ca.pem").read_bytes()
            key_pem = (folder / "ca.key").read_bytes()
        except FileNotFoundError as error:
            raise SecurityError(
                f"there is no certificate authority in {folder}: make one with `hilnas daemon init`"
            ) from error
        except PermissionError as error:
            raise SecurityError(
                f"user {os.geteuid()} may not read {error.filename}: act as the user whose daemon it is"
            ) from error
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            key = serialization.load_pem_private_key(key_pem, None)
        except (ValueError, TypeError) as error:
            raise SecurityError(f"the authority in {folder} is damaged: put it back from a backup") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise SecurityError(f"ca.key in {folder} is not that of ca.pem: put both back from one backup")
        return cls(folder, certificate, key, clock)

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate, PEM."""
        return certificates.pem(self._certificate)

    @property
    def ends_unix(self) -> float:
        """When the authority ends, in s since the Unix epoch."""
        return self._certificate.not_valid_after_utc.timestamp()

    def fingerprint(self) -> str:
        """Return by what a device knows this lab before it has a certificate: "sha256:" and the hash of the DER."""
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        return f"sha256:{hashlib.sha256(der).hexdigest()}"

    def sign(self, csr_pem: bytes, role: Role, name: str, days: float = DEVICE_DAYS) -> bytes:
        """Return a certificate (PEM) of a request's key under a name and a role that the lab chose.

        What the request says of itself is left aside. SecurityError for one that is none, or whose key is no P-256.
        """
        key, role = certificates.requested_key(csr_pem), Role(role)
        subject = certificates.subject_of(role.value, check_name(name))
        begins, ends = self._life(days)
        certificate = certificates.signed(self._certificate, self._key, subject, key, begins, ends)
        # Noted before anybody holds it, so that no certificate escapes a later revocation of its name.
        self._ledger.note(Issued(certificate.serial_number, role.value, name, ends))
        return certificates.pem(certificate)

    def server_certificate(
        self, names_and_addresses: Sequence[str], days: float = SERVER_DAYS
    ) -> tuple[bytes, bytes]:
        """Return a certificate and its new key (PEM) for the host, under the names by which it is dialled."""
        alternatives = certificates.alternatives_of(names_and_addresses)
        key = certificates.new_key()
        begins, ends = self._life(days)
        subject = certificates.subject_of(SERVER, names_and_addresses[0][:64])
        certificate = certificates.signed(
            self._certificate, self._key, subject, key.public_key(), begins, ends, alternatives
        )
        self._ledger.note(Issued(certificate.serial_number, SERVER, names_and_addresses[0], ends))
        return certificates.pem(certificate), certificates.key_pem(key)

    def revoke(self, which: int | str, reason: str = "") -> list[Issued]:
        """Revoke a serial number, or all living certificates of a name, and return them.

        A daemon that runs notices within seconds. SecurityError when there is nothing to revoke.
        """
        return self._ledger.revoke(which, reason)

    def is_revoked(self, serial: int) -> bool:
        """Is a certificate revoked? SecurityError when that cannot be told: then nobody may be let in."""
        return self.revocation(serial) is not None

    def revocation(self, serial: int) -> Revocation | None:
        """Return why a certificate was revoked; None when it was not."""
        return self._ledger.revocation(serial)

    def issued(self) -> list[Issued]:
        """Return all that was signed, the oldest first."""
        return self._ledger.issued()

    def _life(self, days: float) -> tuple[float, float]:
        now, life_s = self.clock(), days * DAY_S
        if not 0 < life_s <= AUTHORITY_DAYS * DAY_S:
            raise SecurityError(f"a certificate cannot last {days} days: ask for more than 0, or for fewer")
        return now - min(BACKDATED_S, life_s / 10), min(now + life_s, self.ends_unix)
