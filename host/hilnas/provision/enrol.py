"""A device's identity: the key is made on the board and stays there; the host signs a request and brings it back."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from hilnas.errors import HilnasError
from hilnas.provision import layout
from hilnas.provision.connection import Connection
from hilnas.provision.errors import UnfitBoardError
from hilnas.provision.facts import BoardFacts
from hilnas.provision.state import BoardState

RENEW_AT = 2 / 3
"""Share of a certificate's life after which a new one is due."""
_MOST_CLOCK_S = 3000.0
"""A certificate is dated back by an hour."""


@dataclass(frozen=True)
class Signed:
    """A device's certificate, and the authority's by which it knows the host; both PEM."""

    certificate: bytes
    authority: bytes


Sign = Callable[[bytes, str], Signed]
"""Signs a request (PEM) for the device of that name."""


@dataclass(frozen=True)
class Enrolment:
    """Who signs for devices, and the authority's certificate (PEM) that they should have."""

    sign: Sign
    authority: bytes


# The agent renews its certificate in the same way: a fresh folder, and then the link `current` is replaced, so that a
# key never stands beside another key's certificate.
_REQUEST = """
set -eu; umask 077
install -d -o "$2" -g "$2" -m 700 "$1" "$1/identity"
mkdir "$1/identity/$4"; cd "$1/identity/$4"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem 2>/dev/null
openssl req -new -key key.pem -subj "/CN=$3"
"""
# Two files come in one stream: the first's length says where it ends.
_KEEP = """
set -eu; umask 077
cd "$1/identity/$3"
head -c "$4" >cert.pem; cat >ca.pem
chown -R "$2:$2" .; sync
cd ..; ln -s "$3" .current.new; mv -T .current.new current; chown -h "$2:$2" current
rm -f cert.pem key.pem ca.pem
for old in identity-*; do [ "$old" = "$3" ] || rm -rf "$old"; done
"""
_DROP = 'rm -rf "$1/identity/$2"'


def due(state: BoardState, enrolment: Enrolment, device: str) -> str:
    """Return why a board needs a certificate, or "" when it has a good one."""
    found = state.certificate
    if found is None:
        return "it has none"
    if found.name != device:
        return f"the one that it has is for {found.name}"
    if found.authority != hashlib.sha256(enrolment.authority).hexdigest():
        return "the one that it has is another authority's"
    return "the one that it has ends soon" if found.spent(time.time()) > RENEW_AT else ""


def check(facts: BoardFacts, name: str, clock_is_set: bool = False) -> None:
    """Raise UnfitBoardError when the board called `name` cannot be enrolled; its clock may be set first."""
    if not facts.openssl:
        raise UnfitBoardError(
            f"{name}: its key is made with openssl, which is not there: sudo apt install openssl"
        )
    if abs(facts.clock_off_s) > _MOST_CLOCK_S and not clock_is_set:
        ahead = "ahead" if facts.clock_off_s > 0 else "behind"
        raise UnfitBoardError(
            f"{name}: its clock is {_span(abs(facts.clock_off_s))} {ahead} of this host's, so no certificate would hold "
            "there: give it the time (sudo timedatectl set-ntp true), or have it set with --set-clock"
        )


def enrol(board: Connection, enrolment: Enrolment, device: str) -> None:
    """Give a board its key and certificate. ProvisionError, or the signer's own error; then nothing has changed."""
    fresh = f"identity-{secrets.token_hex(6)}"
    place = (layout.STATE, layout.USER)
    request = board.script(_REQUEST, *place, device, fresh, what="make the device's key", sudo=True)
    try:
        signed = enrolment.sign(request.encode(), device)
    except HilnasError:
        board.script(_DROP, layout.STATE, fresh, what="remove the key that nobody signed", sudo=True)
        raise
    board.script(
        _KEEP,
        *(*place, fresh, str(len(signed.certificate))),
        what="keep the certificate",
        sudo=True,
        content=signed.certificate + signed.authority,
    )


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
