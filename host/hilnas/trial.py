"""The values that travel: architectures, proposals, measurements, estimates, scores, trials.

No behaviour beyond naming and printing; imported by all, importing nothing of hilnas.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

Choice = str | int | float | bool
"""A value that a decision can take; plain JSON."""


@dataclass(frozen=True)
class Architecture:
    """One point of a space: its live decisions in the space's order. Hashable; JSON by `to_json`."""

    space: str
    decisions: tuple[tuple[str, Choice], ...]

    def __getitem__(self, name: str) -> Choice:
        return self._by_name[name]

    def get(self, name: str) -> Choice | None:
        """Return the value of decision `name`, or None where it is not live."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Choice]:
        return dict(self.decisions)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 64 hexadecimal digits: stable over processes and versions."""
        canonical = json.dumps([self.space, self.decisions], separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return `{"space": name, "decisions": {name: value}}`."""
        return {"space": self.space, "decisions": dict(self.decisions)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Architecture":
        """Read what `to_json` wrote; the space's `check` says whether it is one of its points."""
        return cls(str(data["space"]), tuple(dict(data["decisions"]).items()))

    def __str__(self) -> str:
        return f"{self.space}:{self.digest[:10]}"


@dataclass(frozen=True)
class Proposal:
    """What a strategy proposed, and how: enough to repeat the draw and to correct a late reward."""

    architecture: Architecture
    policy_version: int = 0
    """Number of updates behind the policy that proposed."""
    log_probabilities: tuple[float, ...] = ()
    """Natural logarithm of the behaviour policy's probability of each live decision, in order."""
    random_state: str = ""
    """State of the strategy's random generator before the draw, as text."""
    repeat: int = 0
    """How many earlier trials of the architecture this one doubts: above 0 it is measured and estimated anew."""


@dataclass(frozen=True)
class ModelFacts:
    """An int8 .tflite file and what can be read off it without a device."""

    sha256: str
    bytes: int
    macs: int
    """Multiply-accumulate operations of one inference."""
    parameters: int


class Verdict(StrEnum):
    """How a measurement ended; see measurement.proto."""

    TRUSTED = "TRUSTED"
    UNSTABLE = "UNSTABLE"
    CRASHED = "CRASHED"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    UNSUPPORTED_OP = "UNSUPPORTED_OP"
    INVALID_MODEL = "INVALID_MODEL"
    DEVICE_FAULT = "DEVICE_FAULT"
    DEFERRED_HOT = "DEFERRED_HOT"


FIGURE_VERDICTS = frozenset({Verdict.TRUSTED, Verdict.UNSTABLE})
"""Verdicts that come with figures."""

DEVICE_FAULTS = frozenset({Verdict.DEVICE_FAULT, Verdict.DEFERRED_HOT})
"""Verdicts that say nothing of the candidate."""

MODEL_FAULTS = frozenset(
    {
        Verdict.CRASHED,
        Verdict.TIMEOUT,
        Verdict.OUT_OF_MEMORY,
        Verdict.UNSUPPORTED_OP,
        Verdict.INVALID_MODEL,
    }
)
"""Verdicts that are the candidate's fault, not the device's."""


@dataclass(frozen=True)
class Latency:
    """Latency of one inference, in ms: the median, its interval, the spread, and the raw samples."""

    median_ms: float
    low_ms: float
    high_ms: float
    p5_ms: float
    p90_ms: float
    p95_ms: float
    mad_ms: float
    load_ms: float
    first_ms: float
    inner_loops: int
    samples_ns: tuple[int, ...] = field(default=(), repr=False)
    set_aside: tuple[int, ...] = field(default=(), repr=False)
    """Places of samples that were taken beside other work and do not count."""


@dataclass(frozen=True)
class Evidence:
    """One rule of the protocol, and how it went."""

    rule: str
    passed: bool
    text: str
    """For a person, with the remedy where there is one."""
    value: float | None = None
    limit: float | None = None
    preflight: bool = False
    """It was seen before a session: told beside the figure, which the session's own rules judge."""


@dataclass(frozen=True)
class GraphFacts:
    """What became of a model's operators on a device."""

    nodes: int
    delegated_nodes: int
    """How many the delegate took."""
    partitions: int
    """In how many pieces."""


@dataclass(frozen=True)
class SessionFigure:
    """What one session of a measurement found, in ms."""

    median_ms: float
    low_ms: float
    high_ms: float
    trusted: bool
    started_unix_ms: int = 0


class EnergyVerdict(StrEnum):
    """How an energy pass ended; see energy.proto."""

    TRUSTED = "TRUSTED"
    UNSTABLE = "UNSTABLE"
    BELOW_RESOLUTION = "BELOW_RESOLUTION"
    """No figure: it cannot be told from the meter's noise."""
    UNAVAILABLE = "UNAVAILABLE"
    """No figure: no meter, or none that gave readings."""


@dataclass(frozen=True)
class Energy:
    """Energy of one inference, as a device's meter told it."""

    verdict: EnergyVerdict
    message: str = ""
    """Why it is not TRUSTED, with the remedy."""
    meter: str = ""
    boundary: str = ""
    """What the meter sees: "wall", "board", "soc" or "rails"; figures of two boundaries don't compare."""
    rate_hz: float = 0.0
    """Readings a second."""
    net_mj: float | None = None
    """Energy beyond that of the idle device; None where there is no figure."""
    low_mj: float | None = None
    high_mj: float | None = None
    """Ends of the interval of `net_mj`."""
    gross_mj: float | None = None
    """Energy of the whole boundary, idle included."""
    idle_mw: float | None = None
    busy_mw: float | None = None
    runs: int = 0
    """Inferences behind the figure."""
    repeats_mj: tuple[float, ...] = ()
    """Net energy of each repeat that counts."""


NO_METER = Energy(EnergyVerdict.UNAVAILABLE, "the device has no energy meter")
NOT_ASKED = Energy(EnergyVerdict.UNAVAILABLE, "energy was not asked for")


@dataclass(frozen=True)
class Measurement:
    """What a device said of a model under one protocol."""

    device: str
    device_class: str
    model_sha256: str
    protocol_hash: str
    runtime: str
    """Name, version, delegate and threads, e.g. "ai-edge-litert 2.3.0 xnnpack x1"."""
    verdict: Verdict
    message: str = ""
    fidelity: str = ""
    """"screen" or "full"; empty for figures of an earlier version."""
    evidence: tuple[Evidence, ...] = ()
    """The rules of the protocol, and how each was kept."""
    sessions: tuple[SessionFigure, ...] = ()
    """What it was made of, in the order taken; empty for a single session."""
    graph: GraphFacts | None = None
    latency: Latency | None = None
    peak_memory_kib: int | None = None
    """Resident peak of the worker process while loading and inferring, its own start-up included."""
    load_memory_kib: int | None = None
    """The same while loading alone."""
    run_memory_kib: int | None = None
    """The same while inferring alone."""
    arena_kib: int | None = None
    """Memory of the tensors in the runtime's arena, where the runtime tells."""
    baseline_memory_kib: int | None = None
    """Resident peak of the worker process before the model was loaded."""
    canary_factor: float | None = None
    """How slow the device is beside the first of its class, by the reference model; None without one."""
    energy: Energy = NOT_ASKED
    conditions: Mapping[str, float | str] = field(default_factory=dict)
    started_unix_ms: int = 0
    device_ms: float = 0.0
    """Time the device was busy with the job."""
    attempt: int = 1


@dataclass(frozen=True)
class DeviceEnergy:
    """What an energy pass came to: the figure, or why the model did not even run."""

    device: str
    verdict: Verdict
    """TRUSTED when the model ran; how good the figure is, `energy` says itself."""
    energy: Energy
    evidence: tuple[Evidence, ...] = ()
    message: str = ""
    device_ms: float = 0.0


@dataclass(frozen=True)
class DeviceOutputs:
    """What a model made of examples on a device, in their order."""

    device: str
    device_class: str
    model_sha256: str
    examples_sha256: str
    runtime: str
    verdict: Verdict
    """TRUSTED, or why there are no outputs."""
    message: str = ""
    shape: tuple[int, ...] = ()
    """Shape of one output."""
    dtype: str = ""
    """NumPy name of the element type."""
    count: int = 0
    content: bytes = field(default=b"", repr=False)
    """Elements of all outputs, little-endian."""
    attempt: int = 1


@dataclass(frozen=True)
class Agreement:
    """A model's outputs on a device against those on the host, sample by sample."""

    device: str
    device_class: str
    runtime: str
    examples: int
    same_class: float
    """Share of examples with the same arg-max."""
    identical: float
    """Share of examples whose outputs are equal to the last bit."""
    largest_step: float
    """Largest difference of an output, in its own steps (1 is the least an int8 output can differ by)."""
    device_accuracy: float | None = None
    """Share of examples that the device gets right; None without labels."""
    host_accuracy: float | None = None
    differing: tuple[int, ...] = ()
    """Places of the first examples whose class differs."""


@dataclass(frozen=True)
class CanaryReading:
    """What the reference model took on a device, and what that says of the device."""

    device: str
    device_class: str
    verdict: Verdict
    median_ms: float | None = None
    drift: float | None = None
    """Change since the device's first TRUSTED reading, as a share; None where either is missing."""
    factor: float | None = None
    """How slow the device is beside the first one of its class: medians of all TRUSTED readings."""
    state: str = ""
    """"steady", "drifting" (once beyond what is allowed), "quarantine" (twice far beyond), or "unsure"."""
    doubtful: tuple[str, ...] = ()
    """Models whose figures were taken since the last steady reading, where this one is not."""
    message: str = ""


@dataclass(frozen=True)
class Estimate:
    """How accurate an architecture is, by one estimator."""

    estimator: str
    accuracy: float
    """Share of validation examples that the int8 file gets right, 0 to 1."""
    accuracy_se: float
    """Standard error of `accuracy`."""
    float_accuracy: float | None = None
    """The same of the float32 module, where there is one."""
    model_sha256: str | None = None
    """The int8 file with its real weights, in the model store."""
    details: Mapping[str, float | str] = field(default_factory=dict)
    is_rank: bool = False
    """Is `accuracy` a rank, the share of other architectures that this one beats, and no share of examples?"""


@dataclass(frozen=True)
class ProxyRank:
    """What a search's filter found of an architecture before it was measured or trained."""

    rank: float
    """Share of a sample of the space that it beats by zero-cost proxies, 0 to 1."""
    scores: Mapping[str, float | str]
    """What each proxy said, and why where it had no number."""
    reference: int
    """Architectures of the sample."""


@dataclass(frozen=True)
class Score:
    """The number a strategy learns from, and what it was made of."""

    reward: float
    reward_se: float
    """Standard error of the reward, from the errors of what it was made of."""
    values: Mapping[str, float]
    """Objective label to value, in the objective's unit."""


class TrialStatus(StrEnum):
    """Where a trial stands. SCORED, INVALID and FAILED are final."""

    PROPOSED = "PROPOSED"
    SCORED = "SCORED"
    INVALID = "INVALID"
    """The candidate's fault: too large, unsupported, crashed, over a hard limit. Its reward is explicit."""
    FAILED = "FAILED"
    """The device's, the link's or the host's fault, after all retries: there is no reward."""


@dataclass(frozen=True)
class Trial:
    """One architecture's way through proposal, export, measurement, estimate and score."""

    number: int
    proposal: Proposal
    status: TrialStatus = TrialStatus.PROPOSED
    reason: str = ""
    """Why a trial is INVALID or FAILED, e.g. "TIMEOUT on pi4-1: …"."""
    model: ModelFacts | None = None
    proxy_rank: ProxyRank | None = None
    """By the search's filter; None without one."""
    measurements: tuple[Measurement, ...] = ()
    """One for each device class asked for."""
    estimate: Estimate | None = None
    score: Score | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    """Stage ("export", "filter", "measure", "estimate") to seconds of work."""

    @property
    def architecture(self) -> Architecture:
        """The proposed architecture."""
        return self.proposal.architecture

    @property
    def final(self) -> bool:
        """Has the trial ended?"""
        return self.status is not TrialStatus.PROPOSED
