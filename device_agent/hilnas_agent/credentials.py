"""This device's certificate, its key and the lab's authority on disk: a matching set, whatever happens.

Three files, cert.pem, key.pem and ca.pem, lie in the identity folder itself, or in the folder that its link
`current` names. New ones come into a fresh folder, and then the link is replaced: so a key never stands beside
another key's certificate. Where both are there, the certificate that ends later is the one.
"""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from hilnas_agent import openssl
from hilnas_agent.openssl import CertificateFacts, OpensslError

_FILES = ("cert.pem", "key.pem", "ca.pem")
_CURRENT = "current"
_PREFIX = "identity-"
_SYSTEM = Path("/var/lib/hilnas-agent/identity")


class CredentialsError(Exception):
    """There is no certificate, or it cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Credentials:
    """A certificate with its key and the authority, PEM, and the folder where they were found."""

    folder: Path
    certificate: bytes
    key: bytes = field(repr=False)
    authority: bytes

    def facts(self) -> CertificateFacts:
        """What the certificate says; CredentialsError when it is none."""
        try:
            return openssl.facts_of(self.certificate)
        except OpensslError as error:
            raise CredentialsError(f"the certificate in {self.folder} cannot be read: {error}") from error


def default_folder() -> Path:
    """Where the identity lies unless the user says otherwise: the system's, where this user may read it, or theirs."""
    if os.geteuid() == 0 or os.access(_SYSTEM, os.R_OK | os.X_OK):
        return _SYSTEM
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local/share") / "hilnas-agent/identity"


def load(folder: Path) -> Credentials:
    """Reads an identity; CredentialsError when there is none."""
    found = [each for each in (_read(folder / _CURRENT), _read(folder)) if each is not None]
    if not found:
        raise CredentialsError(
            f"there is no identity in {folder} ({', '.join(_FILES)} that this user can read)"
        )
    return found[0] if len(found) == 1 else max(found, key=lambda each: each.facts().ends)


def begin(folder: Path) -> Path:
    """Makes a folder for a new key inside the identity folder; CredentialsError when that cannot be."""
    fresh = folder / f"{_PREFIX}{os.urandom(6).hex()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.mkdir(mode=0o700)
    except OSError as error:
        raise CredentialsError(
            f"no identity can be kept in {folder}: {error.strerror}; give another folder with --identity"
        ) from error
    return fresh


def finish(fresh: Path, certificate: bytes, authority: bytes) -> None:
    """Puts the certificate beside the key that is in `fresh`, and makes both the identity at once.

    CredentialsError when the certificate is another key's, or the disk does not take it: then all is as before.
    """
    folder = fresh.parent
    try:
        if not openssl.belongs(certificate, fresh / "key.pem"):
            raise CredentialsError(
                "the host signed another key than this device's: try again, or tell its admin"
            )
        for name, content in (("cert.pem", certificate), ("ca.pem", authority)):
            _write(fresh / name, content)
        _sync(fresh / "key.pem")
        _sync(fresh)
        before = (folder / _CURRENT).resolve().name
        link = folder / f".{_CURRENT}.new"
        link.unlink(missing_ok=True)
        link.symlink_to(fresh.name)
        link.replace(folder / _CURRENT)
        _sync(folder)
    except OSError as error:
        raise CredentialsError(f"the new identity cannot be kept in {folder}: {error.strerror}") from error
    except OpensslError as error:
        raise CredentialsError(f"what the host sent as a certificate cannot be read: {error}") from error
    # The one before stays until the next time: somebody may be reading it.
    for old in folder.glob(f"{_PREFIX}*"):
        if old.name not in (before, fresh.name):
            discard(old)


def discard(fresh: Path) -> None:
    """Removes what `begin` made, unless it is the identity by now."""
    if (fresh.parent / _CURRENT).resolve() == fresh.resolve():
        return
    with contextlib.suppress(OSError):
        for path in fresh.iterdir():
            path.unlink()
        fresh.rmdir()


def _read(folder: Path) -> Credentials | None:
    # A set that is replaced meanwhile stays for a while, so one look at the link suffices.
    place = folder.resolve()
    with contextlib.suppress(OSError):
        certificate, key, authority = ((place / name).read_bytes() for name in _FILES)
        return Credentials(place, certificate, key, authority)
    return None


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
