"""Join tokens: each lets one device in, once, within minutes. Only their hashes are kept."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hilnas.security.authority import Authority
from hilnas.security.errors import SecurityError, TokenError
from hilnas.security.files import SECRET, locked, private_folder, write
from hilnas.security.names import check_name

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that is taken for a digit."""
_ALIKE = str.maketrans("oil", "011", "- \t\r\n")
_GROUPS, _GROUP = 7, 4
"""28 letters of 5 bits: 140 bits."""
_REMEMBERED_S = 86_400.0
"""A token that is over is remembered so long, to tell whoever brings it why."""


class JoinTokens:
    """The tokens of one file. Several processes and threads may use it at once."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._lock = path.with_name(f".{path.name}.lock")

    @classmethod
    def beside(cls, authority: Authority) -> "JoinTokens":
        """Return the tokens of an authority."""
        return cls(authority.folder / "tokens.json", authority.clock)

    def create(self, name: str, device_class: str = "", minutes: float = 15) -> str:
        """Return a new token for the device `name`; nobody can read it anywhere later.

        SecurityError for a name that cannot be one.
        """
        if not 0 < minutes <= 7 * 24 * 60:
            raise SecurityError(
                f"a token cannot be good for {minutes} minutes: take more than 0, a week at most"
            )
        entry = {
            "name": check_name(name),
            "device_class": device_class,
            "until": self._clock() + minutes * 60,
            "used": None,
        }
        letters = "".join(secrets.choice(_ALPHABET) for _ in range(_GROUPS * _GROUP))
        private_folder(self._path.parent)
        with locked(self._lock):
            entries = self._read()
            entries[_hashed(letters)] = entry
            self._write(entries)
        return "-".join(letters[at : at + _GROUP] for at in range(0, len(letters), _GROUP))

    def redeem(self, token: str) -> tuple[str, str]:
        """Return name and class of the device that a token is for, and use it up. TokenError when it is no good."""
        wanted = _hashed(token)
        private_folder(self._path.parent)
        with locked(self._lock):
            entries = self._read()
            found = None
            for digest, entry in entries.items():  # all of them, so that the time taken tells nothing
                if hmac.compare_digest(digest, wanted):
                    found = entry
            now = self._clock()
            if found is None:
                raise TokenError(f"this join token is unknown: {_REMEDY}")
            if found["used"] is not None:
                raise TokenError(f"this join token has been used already: {_REMEDY}")
            if now >= found["until"]:
                raise TokenError(f"this join token has expired: {_REMEDY}")
            found["used"] = now
            self._write(entries)
        return found["name"], found["device_class"]

    def withdraw(self, name: str) -> int:
        """Make the unused tokens of a device worthless; return how many there were."""
        if not self._path.exists():
            return 0
        with locked(self._lock):
            entries, now = self._read(), self._clock()
            doomed = [
                digest
                for digest, entry in entries.items()
                if entry["name"] == name and entry["used"] is None and now < entry["until"]
            ]
            for digest in doomed:
                del entries[digest]
            if doomed:
                self._write(entries)
        return len(doomed)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            entries: dict[str, dict[str, Any]] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise SecurityError(f"{self._path} is damaged: remove it, and make new tokens") from error
        return entries

    def _write(self, entries: dict[str, dict[str, Any]]) -> None:
        since = self._clock() - _REMEMBERED_S
        kept = {digest: entry for digest, entry in entries.items() if entry["until"] > since}
        write(self._path, json.dumps(kept, indent=1).encode() + b"\n", SECRET)


_REMEDY = "make a new one on the host with `hilnas daemon token NAME`"


def _hashed(token: str) -> str:
    """Return a token's hash, however it was typed. It has 140 random bits, so a plain hash is as good as a slow one."""
    plain = token[:200].lower().translate(_ALIKE)
    return hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()
