"""A person's certificate with its key, as a folder to hand over."""

import secrets
import shutil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from hilnas.security.authority import Authority
from hilnas.security.certificates import key_pem, new_key, subject_of
from hilnas.security.errors import SecurityError
from hilnas.security.files import PUBLIC, SECRET, sync, write
from hilnas.security.peers import Role

USER_DAYS = 365.0


def make_bundle(authority: Authority, role: Role, name: str, folder: Path, days: float = USER_DAYS) -> None:
    """Make a new folder, for its owner alone, with cert.pem, key.pem and ca.pem. SecurityError when it is there."""
    if folder.exists():
        raise SecurityError(f"{folder} is there already: name a new folder")
    key = new_key()
    request = x509.CertificateSigningRequestBuilder().subject_name(subject_of(role.value, name[:64]))
    csr = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    certificate = authority.sign(csr, role, name, days)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}")
    fresh.mkdir(mode=0o700)
    try:
        write(fresh / "key.pem", key_pem(key), SECRET)
        write(fresh / "cert.pem", certificate, PUBLIC)
        write(fresh / "ca.pem", authority.certificate_pem, PUBLIC)
        fresh.rename(folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    sync(folder.parent)
