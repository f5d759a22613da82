"""The settings of the measurement protocol, as the wire has them."""

import math
from dataclasses import dataclass
from typing import Any

_MAX_SAMPLES = 1 << 16


@dataclass(frozen=True)
class Rules:
    """The fields of the wire's SessionRules: what makes a session's figure doubtful."""

    max_temperature_rise_c: float = 8.0
    min_frequency_share: float = 0.97
    max_switches_per_sample: float = 0.1
    max_major_faults: int = 0
    max_drift: float = 0.03
    max_mad_share: float = 0.05
    max_outlier_share: float = 0.05
    max_neighbour_load: float = 0.1
    max_slowdown: float = 0.0
    """0: not looked at."""


@dataclass(frozen=True)
class Preflight:
    """The fields of the wire's Preflight: what is looked at before a session."""

    max_above_idle_c: float = 5.0
    max_cooldown_ms: int = 120_000
    max_pressure: float = 0.02
    refuse: bool = False


@dataclass(frozen=True)
class Settings:
    """The fields of the wire's MeasurementProtocol, under the same names and in the same units."""

    warmup_runs: int = 20
    warmup_ms: float = 1000
    min_samples: int = 100
    min_sample_ms: float = 10
    min_sampling_ms: float = 3000
    max_sampling_ms: float = 30_000
    confidence: float = 0.95
    bootstrap_resamples: int = 1000
    max_half_width: float = 0.02
    max_warmup_ms: float = 0
    floor_samples: int = 0
    rules: Rules | None = None
    """None: an older host, which knows none."""
    preflight: Preflight | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Settings":
        """Settings from what `dataclasses.asdict` made of them."""
        rules, preflight = data.get("rules"), data.get("preflight")
        return cls(
            **{
                **data,
                "rules": Rules(**rules) if rules else None,
                "preflight": Preflight(**preflight) if preflight else None,
            }
        )

    @property
    def floor(self) -> int:
        """Samples to take even when the time for sampling is spent."""
        return min(self.floor_samples or self.min_samples, self.min_samples)

    def problem(self) -> str | None:
        """What makes these settings unusable, or None."""
        if not 0 < self.confidence < 1:
            return f"confidence is {self.confidence}, not between 0 and 1"
        if not 1 <= self.bootstrap_resamples <= 1_000_000:
            return f"bootstrap_resamples is {self.bootstrap_resamples}, not between 1 and 1000000"
        if not 1 <= self.min_samples <= _MAX_SAMPLES:
            return f"min_samples is {self.min_samples}, not between 1 and {_MAX_SAMPLES}"
        if not (math.isfinite(self.min_sample_ms) and self.min_sample_ms >= 0):
            return f"min_sample_ms is {self.min_sample_ms}, not a time"
        return None
