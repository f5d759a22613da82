"""The settings of an energy pass, as the wire has them."""

import math
from dataclasses import dataclass
from typing import Any

_LONGEST_MS = 3_600_000
_LEAST_IDLE_READINGS = 8
"""Fewer do not tell how much a meter's readings scatter."""
_SPARE = 1.1
"""Some readings come late, or lie across a border."""


@dataclass(frozen=True)
class EnergySettings:
    """The fields of the wire's EnergyProtocol, under the same names and in the same units."""

    meter: str = ""
    idle_ms: float = 5000
    busy_ms: float = 10_000
    coarse_busy_ms: float = 60_000
    min_readings: int = 100
    min_runs: int = 10
    repeats: int = 5
    max_idle_change: float = 0.05
    max_spread: float = 0.1
    min_snr: float = 3.0
    confidence: float = 0.95

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "EnergySettings":
        """Settings from what `dataclasses.asdict` made of them."""
        return cls(**data)

    @property
    def least_repeats(self) -> int:
        """Repeats that must count: more than half, and three where as many were asked for."""
        return max(self.repeats // 2 + 1, min(3, self.repeats))

    def problem(self) -> str | None:
        """What makes these settings unusable, or None."""
        for name in ("idle_ms", "busy_ms", "coarse_busy_ms"):
            value = getattr(self, name)
            if not 1 <= value <= _LONGEST_MS:
                return f"{name} is {value}, not between 1 and {_LONGEST_MS}"
        for name, most in (("min_readings", 1 << 20), ("min_runs", 1 << 30), ("repeats", 100)):
            value = getattr(self, name)
            if not 1 <= value <= most:
                return f"{name} is {value}, not between 1 and {most}"
        if not 0 < self.confidence < 1:
            return f"confidence is {self.confidence}, not between 0 and 1"
        for name in ("max_idle_change", "max_spread", "min_snr"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                return f"{name} is {value}, not a number from 0"
        return None

    def busy_of(self, rate_hz: float, coarse: bool) -> float:
        """Length of a busy stretch for a meter, in ms: long enough for its readings."""
        asked = self.coarse_busy_ms if coarse else self.busy_ms
        return max(asked, _SPARE * self.min_readings / rate_hz * 1000) if rate_hz > 0 else asked

    def idle_of(self, rate_hz: float) -> float:
        """Length of an idle stretch for a meter, in ms."""
        return max(self.idle_ms, _LEAST_IDLE_READINGS / rate_hz * 1000) if rate_hz > 0 else self.idle_ms

    def pass_ms(self, rate_hz: float, coarse: bool) -> float:
        """What a pass takes at least, in ms, model and meter being ready."""
        return self.repeats * (2 * self.idle_of(rate_hz) + self.busy_of(rate_hz, coarse))
