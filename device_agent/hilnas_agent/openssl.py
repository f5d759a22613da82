"""Keys and signing requests by the `openssl` command: the agent carries no cryptography of its own.

No secret is ever on its command line, and what it writes is for this user alone.
"""

import calendar
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_S = 60.0
_CONFIG = "[req]\nprompt = no\ndistinguished_name = who\n[who]\nCN = {name}\n"


class OpensslError(Exception):
    """The command is missing or has failed; the message says what to do."""


@dataclass(frozen=True)
class CertificateFacts:
    """What a certificate says; times in s since the Unix epoch."""

    name: str
    begins: float
    ends: float


def make_request(folder: Path, name: str) -> str:
    """Makes a key, key.pem in that folder, and returns a request (PEM) to sign it; OpensslError when it cannot.

    The name in the request is for people: the host does not go by it.
    """
    key, config = folder / "key.pem", folder / "request.cnf"
    _run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(key))
    config.write_text(_CONFIG.format(name=name), encoding="ascii")
    try:
        return _run("req", "-new", "-key", str(key), "-config", str(config)).decode("ascii")
    finally:
        config.unlink()


def facts_of(certificate_pem: bytes) -> CertificateFacts:
    """Reads the first certificate of a PEM text; OpensslError for what is none."""
    text = _run(
        "x509", "-noout", "-startdate", "-enddate", "-subject", "-nameopt", "RFC2253", given=certificate_pem
    )
    fields = dict(line.split("=", 1) for line in text.decode("utf-8", "replace").splitlines() if "=" in line)
    parts = dict(part.split("=", 1) for part in fields.get("subject", "").strip().split(",") if "=" in part)
    try:
        return CertificateFacts(parts.get("CN", ""), _unix(fields["notBefore"]), _unix(fields["notAfter"]))
    except (KeyError, ValueError) as error:
        raise OpensslError(f"openssl did not tell when a certificate is valid: {text!r}") from error


def belongs(certificate_pem: bytes, key: Path) -> bool:
    """True when a certificate is that of a key."""
    theirs = _run("x509", "-noout", "-pubkey", given=certificate_pem)
    return theirs == _run("pkey", "-in", str(key), "-pubout")


def is_of(certificate_pem: bytes, authority: Path) -> bool:
    """True when an authority has signed a certificate for a client, whatever the time."""
    command = ("verify", "-no_check_time", "-purpose", "sslclient", "-CAfile", str(authority))
    return _done(*command, given=certificate_pem).returncode == 0


def _unix(text: str) -> float:
    return float(calendar.timegm(time.strptime(text.strip(), "%b %d %H:%M:%S %Y GMT")))


def _run(*arguments: str, given: bytes = b"") -> bytes:
    done = _done(*arguments, given=given)
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise OpensslError(f"openssl {arguments[0]} failed: {words[-1] if words else 'it gave no reason'}")
    return done.stdout


def _done(*arguments: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(
            ["openssl", *arguments],
            input=given,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
            umask=0o077,
        )
    except FileNotFoundError as error:
        raise OpensslError(
            "the command openssl is missing: install it (Debian: apt install openssl; Termux: pkg install "
            "openssl-tool)"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OpensslError(f"openssl {arguments[0]} could not be run: {error}") from error
