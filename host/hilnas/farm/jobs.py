"""Measurement jobs: what waits, what runs where, and whose answer counts."""

import asyncio
import hashlib
from dataclasses import dataclass, field

from hilnas.farm.protocol import Fidelity, MeasurementOptions, Protocol
from hilnas.farm.scheduler import Waiting
from hilnas.trial import DeviceEnergy, DeviceOutputs, Measurement

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

    @property
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

    @property
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
    attempt: int = 0
    fence: int = 0
    device: str = ""
    """The device that runs it; empty while it waits."""
    crashed: bool = False
    """Has a worker crashed on it once?"""
    rules_known: bool = True
    """Does the device's agent check a session's rules?"""
    stranded_since: float | None = None
    """Since when no device that could take it has been there, by the monotonic clock."""
    failed_on: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    """What went wrong so far, in words."""

    @property
    def waiting(self) -> Waiting:
        """Return what the scheduler needs to know."""
        ask = self.ask
        return Waiting(self.id, ask.device_class, frozenset(self.failed_on), ask.device, ask.prefer)


class Fences:
    """Numbers that only grow: each lease gets the next one."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """Return a new token."""
        self._last += 1
        return self._last
