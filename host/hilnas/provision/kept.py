"""A tunnel that a lab keeps: the board it leads to, how the lab gets there, and what its key must be let do on the way."""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko
from pydantic import Field, field_validator, model_validator

from hilnas.options import Options
from hilnas.provision.connection import Connection
from hilnas.provision.dial import text_of
from hilnas.provision.target import Target

Place = tuple[str, str, int]
"""User, host and port."""


class Hop(Options):
    """A host on the way to a board, or the board itself."""

    user: str = Field(pattern=r"^[^\s@:,\"'\\-][^\s@:,\"'\\]{0,63}$")
    host: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:%-]{0,252}$|^::[0-9a-fA-F:.]*$")
    port: int = Field(22, ge=1, le=65535)
    host_key: str
    """As known_hosts has it after the name: "ssh-ed25519 AAAA…"."""

    @field_validator("host_key")
    @classmethod
    def _sound(cls, text: str) -> str:
        try:
            entry = paramiko.hostkeys.HostKeyEntry.from_line(f"host {text}")
        except (paramiko.SSHException, paramiko.hostkeys.InvalidHostKey, ValueError):
            entry = None
        if entry is None:
            raise ValueError("write a host key as known_hosts has it after the name: ssh-ed25519 AAAA…")
        return text_of(entry.key)

    @property
    def place(self) -> Place:
        """Where it is, and as whom one logs in."""
        return self.user, self.host, self.port


class Kept(Options):
    """A tunnel as the lab keeps it. Two of the same `way` are the same tunnel."""

    port: int = Field(ge=1, le=65535)
    """On the board's loopback; it leads to the lab."""
    hops: tuple[Hop, ...] = Field(min_length=1, max_length=9)
    """The hosts to jump through, nearest first, and the board."""
    by: str = ""
    """Who had it kept."""
    at_unix: float = 0.0

    @model_validator(mode="after")
    def _no_circle(self) -> "Kept":
        if len(set(self.way)) < len(self.hops):
            raise ValueError("no host can be jumped through twice")
        return self

    @property
    def way(self) -> tuple[Place, ...]:
        """The places on the way, the board's last."""
        return tuple(hop.place for hop in self.hops)

    @property
    def number(self) -> int:
        """Tells it from the lab's other tunnels, on the board too."""
        return zlib.crc32(repr((self.port, self.way)).encode())

    @property
    def board(self) -> str:
        """The board, as a person writes it: "pi@kitchen:2222"."""
        return str(_target(self.hops[-1], ()))

    @property
    def via(self) -> str:
        """The hosts to jump through, as --jump takes them."""
        return ",".join(str(_target(hop, ())) for hop in self.hops[:-1])

    @property
    def told(self) -> str:
        """Board and way, in words."""
        return self.board + (f" (by way of {self.via})" if self.via else "")

    def target(self, key: Path) -> Target:
        """Return how the lab logs in there: with `key` alone, and to these host keys alone."""
        *before, board = (_target(hop, (key,)) for hop in self.hops)
        return replace(board, jumps=tuple(before))


def keep(target: Target, board: Connection, port: int) -> Kept:
    """Return a tunnel to a board that a person is logged in to now: its host keys are verified."""
    stops = (*target.jumps, target)
    hops = (
        Hop(user=stop.user, host=stop.host, port=stop.port, host_key=key)
        for stop, key in zip(stops, board.host_keys, strict=True)
    )
    return Kept(port=port, hops=tuple(hops))


def way_of(target: Target) -> tuple[Place, ...]:
    """Return the way to a board, to find its tunnel by."""
    return tuple((stop.user, stop.host, stop.port) for stop in (*target.jumps, target))


def stops_of(target: Target) -> list[Target]:
    """Return each host on the way to a board, and the board, as targets of their own: nearest first."""
    return [*(replace(jump, jumps=target.jumps[:place]) for place, jump in enumerate(target.jumps)), target]


def _target(hop: Hop, keys: tuple[Path, ...]) -> Target:
    facts: dict[str, Any] = hop.model_dump()
    return Target(name=hop.host, keys=keys, only_keys=True, **facts)
