"""Measurement jobs: what waits, what runs where, and whose answer counts."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from hilnas.farm.book import Book
from hilnas.farm.devices import DeviceFacts
from hilnas.farm.protocol import Fidelity, MeasurementOptions, Protocol
from hilnas.farm.scheduler import Waiting
from hilnas.farm.shares import NOBODY, Asker
from hilnas.trial import DeviceEnergy, DeviceOutputs, Measurement
from hilnas_protos.v1 import measurement_pb2

Answer = Measurement | DeviceOutputs | DeviceEnergy
"""What a job comes to, by what was asked."""

MAX_ATTEMPTS = 3
"""A job is tried this often; only faults of a device or its link are tried again."""


@dataclass(frozen=True)
class Ask:
    """One session wanted of a model, on any device of a class or on a named one of them."""

    model_sha256: str
    device_class: str
    options: MeasurementOptions
    fidelity: Fidelity = Fidelity.SCREEN
    session: int = 0
    """Tells the sessions of one measurement apart."""
    device: str = ""
    """The device that must take it; any of the class when empty."""
    prefer: str = ""
    """The device that should take it, while it is there."""
    examples: str = ""
    """Digest of examples to run, instead of timing the model."""
    count: int = 0
    """How many examples that are."""
    energy: bool = False
    """Measure energy, instead of timing the model."""
    expected_ms: float = 0.0
    """What an inference is known to take, for how long the job may last; 0 when nothing is known."""

    @cached_property
    def protocol(self) -> Protocol:
        """Return the protocol to follow."""
        return self.options.protocol(self.fidelity, self.energy)

    @property
    def deadline_s(self) -> float:
        """Execution time of the worker, at most."""
        energy = self.options.energy
        # A model of t seconds may take ten times t by the recipe's deadline: so many examples take accordingly more.
        examples_s = self.count / 10 * self.options.deadline_s
        return self.options.deadline_s + max(
            examples_s, energy.longest_pass_s(self.expected_ms) if self.energy else 0.0
        )

    @cached_property
    def job_id(self) -> str:
        """Name the job: the same thing asked twice at once is one job."""
        key = (
            self.model_sha256,
            self.device_class,
            self.device,
            self.protocol.hash,
            self.options.runtime_asked,
        )
        text = " ".join([*key, str(self.session), self.examples])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass
class Job:
    """One session asked for. Its answer counts only under the fence of the lease it runs under."""

    id: str
    ask: Ask
    size: int
    done: "asyncio.Future[Answer]"
    examples_size: int = 0
    asker: Asker = NOBODY
    """Who asked first; whoever asks the same later shares the answer."""
    askers: int = 0
    """How many wait for the answer."""
    asked_at: float = 0.0
    """When it was asked for, or came back from a device, by the monotonic clock."""
    attempt: int = 0
    fence: int = 0
    device: str = ""
    """The device that runs it; empty while it waits."""
    given_at: float = 0.0
    """When the device was given it, by the monotonic clock."""
    charged_s: float = 0.0
    """Device time that was counted for the lease, before its end is known."""
    measuring: bool = False
    """Has its worker started?"""
    crashed: bool = False
    """Has a worker crashed on it once?"""
    rules_known: bool = True
    """Does the device's agent check a session's rules?"""
    stranded_since: float | None = None
    """Since when no device that could take it has been there, by the monotonic clock."""
    failed_on: set[str] = field(default_factory=set)
    felled: dict[str, str] = field(default_factory=dict)
    """Devices that went down with it while its worker ran, and how that showed."""
    faults: list[str] = field(default_factory=list)
    """What went wrong so far, in words."""
    result: measurement_pb2.MeasureResult | None = None
    """What the device said last, as it came."""
    facts: DeviceFacts | None = None
    """Facts of the device that said it."""
    given_up: bool = False
    """Is what the job comes to not what a device said?"""
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    def waiting(self, expected_s: float) -> Waiting:
        """Return what the scheduler needs to know."""
        ask = self.ask
        return Waiting(
            self.id,
            ask.device_class,
            frozenset(self.failed_on),
            ask.device,
            ask.prefer,
            self.asker,
            expected_s,
        )

    @property
    def kind(self) -> tuple[str, ...]:
        """Return what jobs of about the same length have in common."""
        ask = self.ask
        return ask.device_class, ask.fidelity, "energy" * ask.energy, "examples" * bool(ask.examples)

    def stop_timers(self) -> None:
        """End the watches over its lease."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()


class Fences:
    """Numbers that only grow, over restarts too: each lease gets the next one."""

    _BLOCK = 1000

    def __init__(self, book: Book) -> None:
        self._book = book
        self.first = self._next = book.fences(self._BLOCK)
        """All smaller ones were given by an earlier process."""
        self._end = self._next + self._BLOCK

    def next(self) -> int:
        """Return a new token."""
        if self._next >= self._end:
            self._next = self._book.fences(self._BLOCK)
            self._end = self._next + self._BLOCK
        self._next += 1
        return self._next - 1
