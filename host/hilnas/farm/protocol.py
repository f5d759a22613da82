"""The measurement protocol: its settings in a recipe, and the value whose hash goes with every figure."""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from hilnas.options import Options

CONFIDENCE = 0.95
"""Confidence of every interval around a median."""

VERSION = 2
"""Part of every protocol's hash: grows when the same settings come to mean something else."""


class Fidelity(StrEnum):
    """How much a measurement may cost."""

    SCREEN = "screen"
    """One session of about two seconds."""
    FULL = "full"
    """Several sessions in fresh processes, with other work between them."""


class SamplingOptions(Options):
    """`[measurement.screen]` and `[measurement.full]`: how long to warm up and to sample, and how often."""

    sessions: int = Field(1, ge=1, le=100)
    """Sessions, each in a process of its own."""
    warmup_runs: int = Field(20, ge=1, le=1_000_000)
    """Inferences before sampling, at least."""
    warmup_ms: int = Field(300, ge=0, le=3_600_000)
    """Time of warm-up, at least."""
    max_warmup_ms: int = Field(800, ge=0, le=3_600_000)
    """Time of warm-up after which timings should be stationary; 0 leaves that test out."""
    min_samples: int = Field(100, ge=10, le=65_536)
    """Samples, at least, within `max_sampling_ms`."""
    floor_samples: int = Field(10, ge=3, le=65_536)
    """Samples that are taken even beyond `max_sampling_ms`."""
    min_sample_ms: float = Field(5.0, ge=0, le=3_600_000)
    """Length of a sample, at least: short models are looped inside it."""
    min_sampling_ms: int = Field(500, ge=0, le=3_600_000)
    """Time spent sampling, at least."""
    max_sampling_ms: int = Field(1400, ge=1, le=3_600_000)
    """Time spent sampling, at most, whether the interval is narrow enough or not."""
    max_half_width: float = Field(0.02, gt=0)
    """Half-width of the interval over the median: sampling goes on until it is met; beyond it is UNSTABLE."""
    max_session_spread: float = Field(0.03, gt=0)
    """Difference of the sessions' medians over their median, beyond which a figure is UNSTABLE."""
    remeasures: int = Field(1, ge=0, le=10)
    """How often doubtful sessions are taken again."""
    cooldown_s: float = Field(1.0, ge=0, le=3600)
    """Pause before the first time; twice as long before each further one."""

    @model_validator(mode="after")
    def _fits(self) -> "SamplingOptions":
        if self.max_warmup_ms and self.max_warmup_ms < self.warmup_ms:
            raise ValueError(f"max_warmup_ms {self.max_warmup_ms} is below warmup_ms {self.warmup_ms}")
        return self


class FullOptions(SamplingOptions):
    """`[measurement.full]`: the same settings with defaults of their own."""

    sessions: int = Field(3, ge=1, le=100)
    """Sessions, each in a process of its own."""
    warmup_ms: int = Field(1000, ge=0, le=3_600_000)
    """Time of warm-up, at least."""
    max_warmup_ms: int = Field(1500, ge=0, le=3_600_000)
    """Time of warm-up after which timings should be stationary; 0 leaves that test out."""
    min_sample_ms: float = Field(10.0, ge=0, le=3_600_000)
    """Length of a sample, at least: short models are looped inside it."""
    min_sampling_ms: int = Field(2500, ge=0, le=3_600_000)
    """Time spent sampling, at least."""
    max_sampling_ms: int = Field(5000, ge=1, le=3_600_000)
    """Time spent sampling, at most, whether the interval is narrow enough or not."""
    remeasures: int = Field(2, ge=0, le=10)
    """How often doubtful sessions are taken again."""


class RulesOptions(Options):
    """`[measurement.rules]`: what makes a session's figure doubtful."""

    max_temperature_rise_c: float = Field(8.0, ge=0)
    """Rise of the hottest sensor while measuring."""
    min_frequency_share: float = Field(0.97, ge=0, le=1)
    """Lowest frequency seen over the highest that the governor allows."""
    max_switches_per_sample: float = Field(0.1, ge=0)
    """Involuntary context switches a sample."""
    max_major_faults: int = Field(0, ge=0, le=2**31)
    """Page faults that waited for a disk, after the warm-up."""
    max_drift: float = Field(0.03, ge=0)
    """Difference of the medians of the first and the last third of the samples, as a share."""
    max_mad_share: float = Field(0.05, ge=0)
    """Median absolute deviation over the median."""
    max_outlier_share: float = Field(0.05, ge=0, le=1)
    """Share of samples beyond the upper quartile + 1.5 interquartile ranges and over 5 % above the median."""
    max_neighbour_load: float = Field(0.1, ge=0)
    """Processors that other work takes, beyond which a stretch of samples is set aside."""
    max_slowdown: float = Field(0.10, ge=0)
    """Time of a fixed piece of work over the least it ever took on the device, less 1, beyond which a stretch of
    samples is set aside: what slows a processor and shows nowhere else. 0 leaves it out."""


class PreflightOptions(Options):
    """`[measurement.preflight]`: what is looked at before a session."""

    max_above_idle_c: float = Field(5.0, ge=0)
    """Temperature above the idle one, at which a session waits."""
    max_cooldown_ms: int = Field(120_000, ge=0, le=3_600_000)
    """How long it waits before it is DEFERRED_HOT."""
    max_pressure: float = Field(0.02, ge=0, le=1)
    """Share of the last ten seconds in which tasks waited for a processor."""
    refuse: bool = False
    """Give no figure when a check fails, instead of telling it beside the figure."""


class CanaryOptions(Options):
    """`[measurement.canary]`: how often a device proves that it is what it was."""

    every: int = Field(20, ge=0, le=100_000)
    """Candidates between two readings of the reference model on a device; 0 for no canary."""
    every_minutes: float = Field(15.0, gt=0)
    """Time between two readings, at most."""
    max_drift: float = Field(0.03, gt=0)
    """Change of a reading against the device's first one, beyond which figures are taken again."""
    quarantine_drift: float = Field(0.05, gt=0)
    """Change which, seen twice in a row, puts the device in quarantine where the class has another one."""


class AccuracyOptions(Options):
    """`[measurement.accuracy]`: whose arithmetic accuracy is by."""

    where: Literal["host", "check", "device"] = "host"
    """"host"; "check": winners run on the devices too, and the agreement is told; "device": every candidate's
    accuracy is that of the first device class, where its arithmetic differs from the host's."""
    examples: int = Field(512, ge=16, le=1_000_000)
    """Validation examples that are shipped, once for each input size."""


class EnergyOptions(Options):
    """`[measurement.energy]`: a pass of its own, idle, busy and idle again, several times over."""

    when: Literal["objective", "winners", "always"] = "objective"
    """Whose energy is measured: candidates' and winners' where energy is an objective; winners' as well where
    their devices have a meter; or everything's."""
    meter: str = ""
    """Name of the meter, as `hilnas-agent check` lists it; the device's first when left out."""
    idle_s: float = Field(5.0, ge=0.1, le=600)
    """Idle time before and after each busy stretch."""
    busy_s: float = Field(10.0, ge=0.1, le=3600)
    """Length of a busy stretch, at least."""
    coarse_busy_s: float = Field(60.0, ge=0.1, le=3600)
    """The same for a coarse meter: a battery's gauge."""
    min_readings: int = Field(20, ge=2, le=1_000_000)
    """Readings of the meter in a busy stretch, at least: it grows for a slow meter."""
    min_runs: int = Field(100, ge=1, le=1_000_000)
    """Inferences in a busy stretch, at least."""
    repeats: int = Field(5, ge=1, le=100)
    """Repeats of a full measurement; the figure is their median."""
    screen_repeats: int = Field(3, ge=1, le=100)
    """Repeats when candidates are screened."""
    max_idle_change: float = Field(0.05, gt=0)
    """Difference of the two idle powers around a busy stretch, over their mean, beyond which it is left out."""
    max_spread: float = Field(0.10, gt=0)
    """Spread of the repeats over their median, beyond which a figure is UNSTABLE."""
    min_snr: float = Field(3.0, gt=0)
    """Power beyond idle over the meter's noise, below which there is no figure."""
    grid_g_per_kwh: float | None = Field(None, ge=0, le=5000)
    """Carbon intensity of the electricity, in g CO2e a kWh: with it reports tell carbon. No default is true."""

    def longest_pass_s(self, inference_ms: float) -> float:
        """Time that a pass may take on the coarsest meter, with room for a slow one's readings and a slow model."""
        busy_s = max(self.busy_s, self.coarse_busy_s, self.min_runs * inference_ms / 1000)
        stretch = 2 * self.idle_s + 3 * busy_s
        return max(self.repeats, self.screen_repeats) * stretch


@dataclass(frozen=True)
class Protocol:
    """One protocol, whole: what shapes a figure, apart from model, device and runtime."""

    fidelity: Fidelity
    sampling: SamplingOptions
    rules: RulesOptions
    preflight: PreflightOptions
    threads: int
    energy: EnergyOptions | None = None
    """None where energy is not measured."""

    @property
    def energy_repeats(self) -> int:
        """Repeats of the energy pass."""
        if self.energy is None:
            return 0
        screening = self.fidelity is Fidelity.SCREEN
        return self.energy.screen_repeats if screening else self.energy.repeats

    @cached_property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of all settings: stable over processes and versions."""
        shaping: dict[str, object] = {
            "version": VERSION,
            "confidence": CONFIDENCE,
            "threads": self.threads,
            "sampling": self.sampling.model_dump(),
            "rules": self.rules.model_dump(),
            "preflight": self.preflight.model_dump(),
        }
        if self.energy is not None:
            apart = {"when", "grid_g_per_kwh", "repeats", "screen_repeats"}
            shaping["energy"] = {**self.energy.model_dump(exclude=apart), "repeats": self.energy_repeats}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]


class MeasurementOptions(Options):
    """`[measurement]` of a recipe: the runtime and the measurement protocol."""

    runtime: str = ""
    """"ai-edge-litert" or "tflite-runtime"; the device's preferred one when left out."""
    xnnpack: bool = True
    """Let the runtime use XNNPACK where it does so by default; false for its own kernels alone."""
    threads: int = Field(1, ge=1, le=64)
    """Inference threads."""
    fidelity: Fidelity = Fidelity.SCREEN
    """"screen" or "full", for candidates; what is in doubt and winners are always measured "full"."""
    screen: SamplingOptions = SamplingOptions()
    full: FullOptions = FullOptions()
    rules: RulesOptions = RulesOptions()
    preflight: PreflightOptions = PreflightOptions()
    canary: CanaryOptions = CanaryOptions()
    accuracy: AccuracyOptions = AccuracyOptions()
    energy: EnergyOptions = EnergyOptions()
    deadline_s: float = Field(60, gt=0, le=86_400)
    """Execution time of a worker, at most; a model of t seconds needs at least ten times t, and a warm-up."""
    address_space_mib: int = Field(0, ge=0, le=2**24)
    """Address space of a worker, at most; 0 leaves it to the agent."""

    def protocol(self, fidelity: Fidelity | None = None, energy: bool = False) -> Protocol:
        """Return the protocol of a fidelity, the candidates' when left out; with energy, or without."""
        chosen = fidelity or self.fidelity
        sampling = self.screen if chosen is Fidelity.SCREEN else self.full
        return Protocol(
            chosen, sampling, self.rules, self.preflight, self.threads, self.energy if energy else None
        )

    @property
    def runtime_asked(self) -> str:
        """Name what is asked for, as part of a measurement's key."""
        return f"{self.runtime or 'default'}{'' if self.xnnpack else ' without xnnpack'} x{self.threads}"
