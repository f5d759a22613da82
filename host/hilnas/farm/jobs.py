"""Measurement jobs: what waits, what runs where, and whose answer counts."""

import asyncio
from dataclasses import dataclass, field

from hilnas.farm.scheduler import Waiting
from hilnas.trial import Measurement

MAX_ATTEMPTS = 3
"""A job is tried this often; only faults of a device or its link are tried again."""


@dataclass
class Job:
    """One measurement asked for. Its answer counts only under the fence of the lease it runs under."""

    id: str
    model_sha256: str
    size: int
    device_class: str
    done: "asyncio.Future[Measurement]"
    attempt: int = 0
    fence: int = 0
    device: str = ""
    """The device that runs it; empty while it waits."""
    crashed: bool = False
    """Has a worker crashed on it once?"""
    stranded_since: float | None = None
    """Since when no device of its class has been there, by the monotonic clock."""
    failed_on: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    """What went wrong so far, in words."""

    @property
    def waiting(self) -> Waiting:
        """Return what the scheduler needs to know."""
        return Waiting(self.id, self.device_class, frozenset(self.failed_on))


class Fences:
    """Numbers that only grow: each lease gets the next one."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """Return a new token."""
        self._last += 1
        return self._last
