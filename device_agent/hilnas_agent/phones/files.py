"""Files on a phone, named by their SHA-256: whole and verified there, oldest dropped first."""

import hashlib
import re
from pathlib import Path

from hilnas_agent.phones.adb import Link, LinkError, quote

FOLDER = "/data/local/tmp/hilnas"
_MOST_MODELS = 32
_HASH_S = 120.0
_BLOCK = 1 << 20
_DROP_OLD = (
    f'ls -t *.tflite *.npy 2>/dev/null | tail -n +{_MOST_MODELS + 1} | while read f; do rm -f "$f"; done'
)


class PhoneFiles:
    """A folder on a phone. Models are kept as a small LRU; programs stay."""

    def __init__(self, link: Link, folder: str = FOLDER) -> None:
        self._link, self.folder = link, folder
        self._verified: set[str] = set()

    def data(self, source: Path, digest: str, suffix: str = ".tflite") -> str:
        """Path on the phone of a model (or of examples) of that digest, copied there if need be."""
        place = self._ensure(source, digest, f"{digest}{suffix}", 0o644)
        self._link.run(f"cd {quote(self.folder)} && touch {quote(place)} && {_DROP_OLD}")
        return place

    def program(self, source: Path, digest: str, suffix: str = "") -> str:
        """Path on the phone of a program of that digest, which may be executed there."""
        return self._ensure(source, digest, f"{digest[:16]}{suffix}", 0o755)

    def _ensure(self, source: Path, digest: str, name: str, mode: int) -> str:
        place = f"{self.folder}/{name}"
        if place in self._verified and self._link.run(f"[ -f {quote(place)} ]").code == 0:
            return place
        if self._hash(place) != digest:
            part = f"{place}.part"
            self._link.run(f"mkdir -p {quote(self.folder)}")
            self._link.push(source, part, mode)
            arrived = self._hash(part)
            if arrived != digest:
                self._link.run(f"rm -f {quote(part)}")
                raise LinkError(
                    f"phone {self._link.serial}: {name} has hash {arrived or '(none)'} there, not {digest}: "
                    f"is its storage full, or the cable bad? (adb shell df {self.folder})"
                )
            self._must(f"chmod {mode:o} {quote(part)} && mv {quote(part)} {quote(place)}")
        self._verified.add(place)
        return place

    def _hash(self, place: str) -> str:
        finished = self._link.run(f"sha256sum {quote(place)} 2>/dev/null", _HASH_S)
        found = re.match(r"\\?([0-9a-f]{64})\b", finished.text)
        return found[1] if found else ""

    def _must(self, command: str) -> None:
        finished = self._link.run(command)
        if finished.code != 0:
            raise LinkError(
                f"phone {self._link.serial}: {command}: {finished.errors.strip() or finished.code}"
            )


def file_digest(path: Path) -> str:
    """SHA-256 of a file; OSError when it cannot be read."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
