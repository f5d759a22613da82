"""What of hilnas is on a board already."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hilnas.provision import layout
from hilnas.provision.connection import Connection

_SCRIPT = Path(__file__).with_name("state.sh")
_DATE = "%b %d %H:%M:%S %Y %Z"


@dataclass(frozen=True)
class Certificate:
    """The device's certificate: its name, when it holds, in s since the Unix epoch, and its authority's SHA-256."""

    name: str
    begins: float
    ends: float
    authority: str

    def spent(self, now: float) -> float:
        """Return the share of its life that is over."""
        return (now - self.begins) / max(1.0, self.ends - self.begins)


@dataclass(frozen=True)
class BoardState:
    """What is installed, and how it does."""

    current: str = ""
    """Release that runs; empty when none does."""
    previous: str = ""
    releases: frozenset[str] = frozenset()
    account: bool = False
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the files that are ours, by path."""
    device: str = ""
    """Name under which its agent dials in."""
    certificate: Certificate | None = None
    enabled: frozenset[str] = frozenset()
    """Units that start at boot."""
    active: frozenset[str] = frozenset()
    """Units that are up."""

    @property
    def empty(self) -> bool:
        """True where there is nothing of an agent."""
        return not (self.current or self.releases or self.account or self.files)


def read(board: Connection) -> BoardState:
    """Ask a board, as root."""
    arguments = (layout.ROOT, layout.CONFIG, layout.STATE, layout.UNITS, layout.USER)
    text = board.script(
        _SCRIPT.read_text(encoding="utf-8"), *arguments, what="see what is installed", sudo=True
    )
    return parse(text)


def parse(text: str) -> BoardState:
    """Return the state in the script's output."""
    values: dict[str, str] = {}
    releases, files, enabled, active = set(), {}, set(), set()
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "release":
            releases.add(value)
        elif key == "file":
            digest, _, path = value.partition(" ")
            files[path.strip().removeprefix("*")] = digest
        elif key == "unit":
            name, *words = value.split()
            if words[:1] == ["enabled"]:
                enabled.add(name)
            if words[-1:] == ["active"]:
                active.add(name)
        else:
            values[key] = value.strip()
    return BoardState(
        current=values.get("current", ""),
        previous=values.get("previous", ""),
        releases=frozenset(releases),
        account=bool(values.get("account")),
        files=files,
        device=values.get("device", ""),
        certificate=_certificate(values),
        enabled=frozenset(enabled),
        active=frozenset(active),
    )


def _certificate(values: dict[str, str]) -> Certificate | None:
    name = re.search(r"\bCN ?= ?([^,/]+)", values.get("subject", ""))
    try:
        begins, ends = (
            datetime.strptime(values.get(key, ""), _DATE).replace(tzinfo=UTC).timestamp()
            for key in ("begins", "ends")
        )
    except ValueError:
        return None
    authority = values.get("authority", "").partition(" ")[0]
    return Certificate(name[1].strip(), begins, ends, authority) if name else None
