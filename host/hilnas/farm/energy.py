"""Energy on the wire: what is asked of a device, and the value of its answer."""

import math

from hilnas.farm.jobs import Ask
from hilnas.farm.protocol import CONFIDENCE
from hilnas.trial import Energy, EnergyVerdict
from hilnas_protos.v1 import energy_pb2

BOUNDARIES = ("wall", "board", "soc", "rails")
"""What a meter can see; a peer's other words are no boundary."""

MAX_REPEATS = 1000
"""Repeats kept of one pass; a peer that sends more is cut."""

_VERDICTS = {
    number: EnergyVerdict(name.removeprefix("ENERGY_VERDICT_"))
    for name, number in energy_pb2.EnergyVerdict.items()
    if number != energy_pb2.ENERGY_VERDICT_UNSPECIFIED
}
_FIGURES = frozenset({EnergyVerdict.TRUSTED, EnergyVerdict.UNSTABLE})


def energy_protocol(ask: Ask) -> energy_pb2.EnergyProtocol | None:
    """Return the settings of the pass, or None where energy is not asked for."""
    protocol = ask.protocol
    if protocol.energy is None:
        return None
    options = protocol.energy
    return energy_pb2.EnergyProtocol(
        meter=options.meter,
        idle_ms=round(options.idle_s * 1000),
        busy_ms=round(options.busy_s * 1000),
        coarse_busy_ms=round(options.coarse_busy_s * 1000),
        min_readings=options.min_readings,
        min_runs=options.min_runs,
        repeats=protocol.energy_repeats,
        max_idle_change=options.max_idle_change,
        max_spread=options.max_spread,
        min_snr=options.min_snr,
        confidence=CONFIDENCE,
    )


def energy_value(message: energy_pb2.Energy) -> Energy:
    """Return the value of an answer; UNAVAILABLE where it holds numbers that cannot be."""
    verdict = _VERDICTS.get(message.verdict, EnergyVerdict.UNAVAILABLE)
    boundary = message.boundary if message.boundary in BOUNDARIES else ""
    figures = verdict in _FIGURES
    if figures and not (boundary and _sound(message)):
        return Energy(
            EnergyVerdict.UNAVAILABLE, "the agent sent figures of energy that cannot be", message.meter
        )
    return Energy(
        verdict=verdict,
        message=message.message,
        meter=message.meter,
        boundary=boundary,
        rate_hz=message.rate_hz if math.isfinite(message.rate_hz) else 0.0,
        net_mj=message.net_mj if figures else None,
        low_mj=message.low_mj if figures else None,
        high_mj=message.high_mj if figures else None,
        gross_mj=message.gross_mj if figures else None,
        idle_mw=_known(message, "idle_mw"),
        busy_mw=_known(message, "busy_mw"),
        runs=message.runs,
        repeats_mj=tuple(v for v in message.repeats_mj[:MAX_REPEATS] if math.isfinite(v)) if figures else (),
    )


def _known(message: energy_pb2.Energy, name: str) -> float | None:
    value = float(getattr(message, name))
    return value if message.HasField(name) and math.isfinite(value) else None


def _sound(message: energy_pb2.Energy) -> bool:
    """Are there figures, and in an order that figures of one pass can have?"""
    if not all(message.HasField(name) for name in ("net_mj", "low_mj", "high_mj", "gross_mj")):
        return False
    ordered = (message.low_mj, message.net_mj, message.high_mj)
    finite = all(math.isfinite(value) for value in (*ordered, message.gross_mj))
    return finite and message.net_mj > 0 and message.gross_mj > 0 and list(ordered) == sorted(ordered)
