"""A TLS handshake that finds out why gRPC, which only says UNAVAILABLE, does not get through.

Run as a process of its own (`python -m hilnas_agent.handshake ADDRESS FOLDER`): Python's ssl must not stay in
the agent's memory. It prints what it found as JSON.
"""

import contextlib
import hashlib
import json
import socket
import ssl
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from hilnas_agent.credentials import Credentials
from hilnas_agent.openssl import OpensslError, facts_of, is_of

_PATIENCE_S = 5.0
_ALERT_WAIT_S = 2.0
_TRIES, _PAUSE_S = 3, 1.0
"""A host that ends the connection so often, right after a handshake that was good, does not want us."""
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""How an HTTP/2 client begins."""
_NOT_YET, _ENDED = 9, 10
_WRONG_NAME = (62, 64)
_CLOCK = "set this device's clock (timedatectl set-ntp true)"


@dataclass(frozen=True)
class Finding:
    """What a handshake came to. `lasting`: trying again won't help until somebody does as the text says."""

    lasting: bool
    text: str


def chain_of(host: str, port: int) -> list[bytes]:
    """The certificates (DER) that a server shows, not verified; OSError when it cannot be reached or has no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), _PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        if hasattr(secure, "get_unverified_chain"):  # Python 3.13 and newer
            return [bytes(each) for each in secure.get_unverified_chain()]
        # Before, the same method is there under the surface.
        found = secure._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
        return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in found]


def fingerprint(der: bytes) -> str:
    """By what an authority is known: "sha256:" and the hash."""
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def look(host: str, port: int, authority: bytes, identity: Credentials | None) -> Finding:
    """Shakes hands as gRPC does, with an identity where there is one, and says what is in the way."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(cadata=authority.decode("ascii", "replace"))
        if identity is not None:
            if problem := _own(identity):
                return problem
            context.load_cert_chain(identity.folder / "cert.pem", identity.folder / "key.pem")
    except (ssl.SSLError, ValueError) as error:
        place = identity.folder if identity else "what the host sent"
        return Finding(True, f"the certificates in {place} cannot be used ({_reason(error)}): join again")
    for _ in range(_TRIES):
        try:
            with socket.create_connection((host, port), _PATIENCE_S) as plain:
                found = _shake(context, plain, host, port)
        except OSError as error:
            return Finding(False, f"{host}:{port} cannot be reached: {error.strerror or error}")
        if found is not None:
            return found
        time.sleep(_PAUSE_S)
    # gRPC's servers send no alert: they hang up.
    return Finding(
        True,
        f"{host}:{port} ends the connection as soon as it sees this device's certificate, which is of its lab: is the "
        f"host's clock right? Its log may say more. This device's clock says {told(time.time())}; else join again",
    )


def _shake(context: ssl.SSLContext, plain: socket.socket, host: str, port: int) -> Finding | None:
    """What one handshake came to; None when the host ended the connection after it was done."""
    try:
        with context.wrap_socket(plain, server_hostname=host) as secure:
            # In TLS 1.3 the server looks at our certificate after the client's half is done. It speaks first,
            # its settings or an alert; what we sent meanwhile could make it drop the alert.
            secure.settimeout(_ALERT_WAIT_S)
            try:
                answer = secure.recv(1)
            except TimeoutError:
                secure.sendall(_PREFACE)
                answer = secure.recv(1)
    except ssl.SSLCertVerificationError as error:
        return Finding(True, _untrusted(error, host, port))
    except ssl.SSLEOFError:
        return Finding(False, f"{host}:{port} ended the connection: is the host just starting?")
    except ssl.SSLError as error:
        return Finding(*_unwelcome(error, host, port))
    except OSError as error:  # a reset or a silence, which may pass
        return Finding(False, f"{host}:{port} does not answer: {error.strerror or error}")
    return Finding(False, "") if answer else None


def _own(identity: Credentials) -> Finding | None:
    """What is wrong with this device's own certificate, by its clock and by the authority beside it."""
    try:
        facts = facts_of(identity.certificate)
        if not is_of(identity.certificate, identity.folder / "ca.pem"):
            text = f"the certificate and the authority in {identity.folder} are of two labs, or not for a device: "
            return Finding(True, text + "join the right one again (hilnas-agent join)")
    except OpensslError:
        return None  # then the handshake tells
    now = time.time()
    if now >= facts.ends:
        text = f"this device's certificate ended on {told(facts.ends)}, and its clock says {told(now)}: join again "
        return Finding(True, text + f"(hilnas-agent join), or {_CLOCK} if it is wrong")
    if now < facts.begins:
        text = f"this device's certificate begins on {told(facts.begins)}, and its clock says {told(now)}: "
        return Finding(True, text + _CLOCK)
    return None


def _untrusted(error: ssl.SSLCertVerificationError, host: str, port: int) -> str:
    """Why this device does not trust the host."""
    if error.verify_code in (_NOT_YET, _ENDED):
        verb = "begins" if error.verify_code == _NOT_YET else "ended"
        return (
            f"the certificate of {host}:{port} {verb} on {_their_time(host, port, error.verify_code)}, and this device's "
            f"clock says {told(time.time())}: {_CLOCK}; if the clock is right, start the host's daemon anew"
        )
    if error.verify_code in _WRONG_NAME:
        return (
            f"the certificate of {host}:{port} is not for the name {host}: dial one of its names, or add this one on "
            "the host with `hilnas daemon names`"
        )
    return (
        f"the certificate of {host}:{port} is not of the lab that this device has joined "
        f"({error.verify_message}): is that the right host? If its authority was made anew, join again"
    )


def _unwelcome(error: ssl.SSLError, host: str, port: int) -> tuple[bool, str]:
    """Why the host does not trust this device, by the alert that it sent."""
    reason = (error.reason or "").upper()
    who = f"{host}:{port}"
    if "ALERT_CERTIFICATE_EXPIRED" in reason:
        return True, f"{who} says that this device's certificate has ended: join again (hilnas-agent join)"
    if "CERTIFICATE_REQUIRED" in reason:
        return True, f"{who} wants a certificate, and none was shown: join the lab (hilnas-agent join)"
    if "ALERT" in reason and any(word in reason for word in ("UNKNOWN_CA", "CERTIFICATE", "DECRYPT")):
        return True, (
            f"{who} does not know this device's certificate ({_reason(error)}): it is of another lab, or not for a "
            "device; join this lab (hilnas-agent join)"
        )
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason:
        return True, (
            f"{who} does not speak TLS: dial the port that the host listens on for devices elsewhere (`listen` in its "
            "daemon.toml), or leave --identity out for a host on this machine"
        )
    return False, f"the TLS handshake with {who} failed: {_reason(error)}"


def _their_time(host: str, port: int, code: int) -> str:
    with contextlib.suppress(OSError, OpensslError, ValueError, IndexError):
        facts = [facts_of(ssl.DER_cert_to_PEM_cert(each).encode()) for each in chain_of(host, port)]
        if code == _NOT_YET:
            return told(max(each.begins for each in facts))
        return told(min(each.ends for each in facts))
    return "a time that could not be read"


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).replace("_", " ").lower()


def told(unix: float) -> str:
    """A time for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix))


def main(argv: list[str]) -> int:
    """Looks once, prints the finding, and ends with 0."""
    from hilnas_agent import credentials
    from hilnas_agent.channel import split_address
    from hilnas_agent.credentials import CredentialsError

    address, folder = argv
    try:
        identity = credentials.load(Path(folder))
    except CredentialsError as error:
        found = Finding(True, f"{error}: join the lab (hilnas-agent join)")
    else:
        found = look(*split_address(address), identity.authority, identity)
    print(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
