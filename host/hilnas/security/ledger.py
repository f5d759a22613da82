"""What an authority has signed, and what of it no longer counts."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hilnas.security.errors import SecurityError
from hilnas.security.files import PUBLIC, locked, write

SERVER = "server"
"""The role of the host's own certificates, which nobody is let in by."""


@dataclass(frozen=True)
class Issued:
    """A certificate that was signed."""

    serial: int
    role: str
    name: str
    not_after: float
    """Its end, in s since the Unix epoch."""


@dataclass(frozen=True)
class Revocation:
    """Why and when a certificate was revoked."""

    reason: str
    at_unix: float


class Ledger:
    """Two files of an authority: `issued.jsonl`, which only grows, and `revoked.json`, which is replaced.

    Several processes may use them; what one revokes the others see at their next look.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._issued, self._revoked = folder / "issued.jsonl", folder / "revoked.json"
        self._lock, self._clock = folder / "lock", clock
        self._seen: tuple[int, int, int] | None = None
        self._known: dict[int, Revocation] = {}

    def begin(self) -> None:
        """Make the files of a new authority."""
        write(self._issued, b"", PUBLIC)
        write(self._revoked, b"{}\n", PUBLIC)

    def note(self, issued: Issued) -> None:
        """Append a certificate; it is on disk when this returns."""
        line = {"serial": f"{issued.serial:x}", "role": issued.role, "name": issued.name}
        text = json.dumps({**line, "not_after": int(issued.not_after)}).encode() + b"\n"
        with locked(self._lock):
            descriptor = os.open(self._issued, os.O_RDWR | os.O_APPEND | os.O_CREAT, PUBLIC)
            try:
                end = os.fstat(descriptor).st_size
                if end and os.pread(descriptor, 1, end - 1) != b"\n":
                    text = b"\n" + text  # a line was torn by a power cut: it must not spoil this one
                os.write(descriptor, text)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def issued(self) -> list[Issued]:
        """Return all certificates in the order of their signing."""
        found = []
        for line in self._issued.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                data = json.loads(line)
                found.append(Issued(int(data["serial"], 16), data["role"], data["name"], data["not_after"]))
            except (ValueError, KeyError, TypeError):
                continue  # torn
        return found

    def revoke(self, which: int | str, reason: str) -> list[Issued]:
        """Revoke a serial number, or all living certificates of a name; SecurityError when there is none."""
        with locked(self._lock):
            revoked = dict(self._read())
            now = self._clock()
            same = [one for one in self.issued() if which in (one.serial, one.name) and one.role != SERVER]
            if not same:
                raise SecurityError(
                    f"no certificate of {_words(which)} was ever signed here: see `hilnas daemon certificates`"
                )
            living = [one for one in same if one.serial not in revoked and one.not_after > now]
            if not living:
                raise SecurityError(
                    f"every certificate of {_words(which)} has ended or is revoked: there is nothing to do"
                )
            revoked |= {one.serial: Revocation(reason, now) for one in living}
            text = {f"{serial:x}": vars(why) for serial, why in revoked.items()}
            write(self._revoked, json.dumps(text, indent=1).encode() + b"\n", PUBLIC)
        return living

    def revocation(self, serial: int) -> Revocation | None:
        """Return why a certificate was revoked; None when it was not. SecurityError when that cannot be told."""
        return self._read().get(serial)

    def _read(self) -> dict[int, Revocation]:
        try:
            facts = self._revoked.stat()
            stamp = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
            if stamp != self._seen:
                data = json.loads(self._revoked.read_bytes())
                self._known = {int(serial, 16): Revocation(**why) for serial, why in data.items()}
                self._seen = stamp
        except (OSError, ValueError, TypeError) as error:
            # Whoever cannot tell what is revoked must let nobody in.
            raise SecurityError(
                f"{self._revoked} cannot be read ({error}): put it back from a backup; until then no certificate counts"
            ) from error
        return self._known


def _words(which: int | str) -> str:
    return f'"{which}"' if isinstance(which, str) else f"serial {which:x}"
