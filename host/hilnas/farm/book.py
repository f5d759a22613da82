"""What a farm keeps of its devices over restarts, and what happened to them."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

HISTORY = 1000
"""Events kept of a device in memory."""


class Hold(StrEnum):
    """Why a device that is there gets no jobs."""

    NONE = ""
    PROBATION = "PROBATION"
    """It is new: it reads the canary first."""
    DRAINING = "DRAINING"
    """A person wants it back."""
    QUARANTINED = "QUARANTINED"
    """It failed too often, or its canary is off."""
    RETIRED = "RETIRED"
    """A person has taken it out of service."""


@dataclass(frozen=True)
class KeptDevice:
    """A device as it is remembered."""

    name: str
    device_class: str = ""
    """Class that people gave it; its own word counts when empty."""
    labels: Mapping[str, str] = field(default_factory=dict)
    hold: Hold = Hold.NONE
    reason: str = ""
    """Why it is held, in a sentence."""
    since_unix: float = 0.0
    """When that began, or when it was first known, in s since the Unix epoch."""
    clean_canaries: int = 0
    """Canaries in a row that found nothing wrong, while it is held."""
    canary_ms: float = 0.0
    """The first TRUSTED reading of the reference model, in ms; 0 before there is one."""
    reserved_for: str = ""
    reserved_since_unix: float = 0.0
    reserved_until_unix: float = 0.0
    seen_unix: float = 0.0
    """Last time that a stream of it began or ended; 0 for never."""
    facts: Mapping[str, Any] | None = None
    """What it said of itself the last time."""

    def reserved_at(self, now_unix: float) -> str:
        """Return the user that it is reserved for at a time; empty when it is for all."""
        return self.reserved_for if now_unix < self.reserved_until_unix else ""


@dataclass(frozen=True)
class DeviceEvent:
    """Something that happened to a device."""

    at_unix: float
    kind: str
    text: str


class Book(Protocol):
    """Keeps devices, their history, and which fencing tokens were given."""

    def devices(self) -> list[KeptDevice]:
        """Return every device that was kept."""

    def keep(self, device: KeptDevice) -> None:
        """Keep a device as it is now."""

    def note(self, name: str, kind: str, text: str) -> None:
        """Add an event to a device's history."""

    def history(self, name: str, limit: int) -> list[DeviceEvent]:
        """Return a device's last events, the newest first."""

    def fences(self, count: int) -> int:
        """Return the first of `count` fencing tokens that were never given before, and never will be again."""


class MemoryBook:
    """A book for a farm that lives as long as this process."""

    def __init__(self) -> None:
        self._devices: dict[str, KeptDevice] = {}
        self._events: dict[str, deque[DeviceEvent]] = {}
        self._fence = 1

    def devices(self) -> list[KeptDevice]:
        """Return every device that was kept."""
        return list(self._devices.values())

    def keep(self, device: KeptDevice) -> None:
        """Keep a device as it is now."""
        self._devices[device.name] = device

    def note(self, name: str, kind: str, text: str) -> None:
        """Add an event to a device's history."""
        self._events.setdefault(name, deque(maxlen=HISTORY)).appendleft(DeviceEvent(time.time(), kind, text))

    def history(self, name: str, limit: int) -> list[DeviceEvent]:
        """Return a device's last events, the newest first."""
        return list(self._events.get(name, ()))[:limit]

    def fences(self, count: int) -> int:
        """Return the first of `count` fencing tokens that were never given before."""
        first, self._fence = self._fence, self._fence + count
        return first
