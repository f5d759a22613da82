"""The energy pass: idle, busy and idle again, several times over, beside a meter that is being recorded."""

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hilnas_agent import measurement, runtimes
from hilnas_agent.energy import figure
from hilnas_agent.energy.figure import Figure
from hilnas_agent.energy.repeat import Repeat, Times, look
from hilnas_agent.energy.settings import EnergySettings
from hilnas_agent.energy.trace import Trace
from hilnas_agent.meters import MeterError, Reading, Traits
from hilnas_agent.settings import Settings

_NS_PER_MS = 1_000_000
_CHUNK_MS = 10.0
"""The clock is looked at so often while the model runs."""
_RATE_READINGS = 4
"""Readings by which a meter that tells no rate is judged."""
_PATIENCE_S = 5.0
"""How long such a one may take for them."""


class Recorded(Protocol):
    """A meter that is being read (see meters.recording)."""

    traits: Traits

    def take(self) -> tuple[list[Reading], str]:
        """The readings since the last call, and what went wrong."""


@dataclass(frozen=True)
class Clock:
    """Time, real or not: the moment in ns, and how to sleep for seconds."""

    now_ns: Callable[[], int] = time.monotonic_ns
    sleep: Callable[[float], object] = time.sleep


@dataclass
class Pass:
    """A pass on its way: the model's `invoke`, its meter, the settings, and the inferences of a chunk."""

    invoke: Callable[[], object]
    meter: Recorded
    settings: EnergySettings
    clock: Clock
    chunk: int = 1
    rate_hz: float = 0.0
    chunks: int = 0

    def run(self, between: Callable[[], object] = lambda: None) -> list[Repeat]:
        """All repeats; `between` is called after each busy stretch. MeterError when the meter is gone."""
        self.rate_hz = self._rate_hz()
        repeats = []
        for _ in range(self.settings.repeats):
            self.meter.take()
            times = self._stretches(between)
            # A power meter's last reading should lie behind the window's end.
            self.clock.sleep(2 / self.rate_hz if self.rate_hz else 0.0)
            readings, problem = self.meter.take()
            try:
                trace = Trace(readings, self.meter.traits)
            except MeterError as error:
                trace, problem = Trace([], self.meter.traits), str(error)
            repeats.append(look(trace, times, self.settings.min_readings, problem))
        return repeats

    def _stretches(self, between: Callable[[], object]) -> Times:
        idle_s = self.settings.idle_of(self.rate_hz) / 1000
        busy_ns = self.settings.busy_of(self.rate_hz, self.meter.traits.coarse) * _NS_PER_MS
        idle_from = self.clock.now_ns()
        self.clock.sleep(idle_s)
        runs, busy_from = 0, self.clock.now_ns()
        while True:
            for _ in range(self.chunk):
                self.invoke()
            runs += self.chunk
            self.chunks += 1
            busy_to = self.clock.now_ns()
            if busy_to - busy_from >= busy_ns and runs >= self.settings.min_runs:
                break
        between()
        self.clock.sleep(idle_s)
        return Times(idle_from, busy_from, busy_to, self.clock.now_ns(), runs)

    def _rate_hz(self) -> float:
        """Readings a second: what the meter promises, or what it has given so far where that is less."""
        promised = self.meter.traits.rate_hz
        patience_s = 3 * _RATE_READINGS / promised if promised > 0 else _PATIENCE_S
        ends_ns = self.clock.now_ns() + patience_s * 1e9
        readings: list[Reading] = []
        while True:
            more, _ = self.meter.take()
            readings += more
            if len(readings) > _RATE_READINGS or self.clock.now_ns() >= ends_ns:
                break
            self.clock.sleep(_RATE_READINGS / promised if promised > 0 else 0.1)
        found = Trace(readings, self.meter.traits).rate_hz
        return min(rate for rate in (promised, found) if rate > 0) if promised or found else 0.0


def warm_up(invoke: Callable[[], object], settings: Settings, clock: Clock) -> int:
    """Infers until the protocol's warm-up is over; the inferences that a chunk of a busy stretch holds."""
    fastest, runs, begin = math.inf, 0, clock.now_ns()
    while True:
        start = clock.now_ns()
        invoke()
        now, runs = clock.now_ns(), runs + 1
        fastest = min(fastest, now - start)
        if runs >= settings.warmup_runs and now - begin >= settings.warmup_ms * _NS_PER_MS:
            return max(1, round(_CHUNK_MS * _NS_PER_MS / max(fastest, 1.0)))


def measure(
    runtime: runtimes.Runtime,
    spec: dict[str, Any],
    hooks: measurement.SessionHooks,
    meter: Recorded | None,
    missing: str,
) -> tuple[dict[str, Any], bytes]:
    """The worker's answer to a job that asks for energy; `missing` says why there is no meter.

    The model is run even without one, so that one that fails is found out. FaultError and InvalidModelError
    where the model was not even loaded.
    """
    protocol, settings = Settings.from_json(spec["protocol"]), EnergySettings.from_json(spec["energy"])
    path = measurement.prepare(spec)
    hooks.prepare(protocol, spec["cpus"])
    try:
        model = runtime.load(path, spec["threads"], spec.get("delegate", ""))
        model.fill_inputs(spec["input_seed"])
    except Exception as error:  # noqa: BLE001 - a runtime may raise anything
        return measurement.failure(error, loading=True), b""
    gc.disable()
    clock = Clock()
    begin = clock.now_ns()
    try:
        chunk = warm_up(model.invoke, protocol, clock)
        hooks.sampling()
        if meter is None:
            found, seen = figure.unavailable(missing, settings.meter), measurement.watched(hooks)
        else:
            found, seen = _pass(model.invoke, meter, settings, protocol, hooks, chunk)
    except Exception as error:  # noqa: BLE001
        return measurement.failure(error, loading=False), b""
    return {
        "verdict": "TRUSTED",
        "message": "",
        "energy": found.energy,
        "evidence": [each.to_json() for each in found.evidence],
        "runtime": model.graph()._asdict(),
        "conditions": measurement.conditions_of(seen),
        "measuring_ms": (clock.now_ns() - begin) / _NS_PER_MS,
    }, b""


def _pass(
    invoke: Callable[[], object],
    meter: Recorded,
    settings: EnergySettings,
    protocol: Settings,
    hooks: measurement.SessionHooks,
    chunk: int,
) -> tuple[Figure, Any]:
    from hilnas_agent.rules import device_evidence

    going = Pass(invoke, meter, settings, Clock(), chunk)
    try:
        repeats: Sequence[Repeat] = going.run(hooks.stretch)
    except MeterError as error:
        return figure.unavailable(str(error), meter.traits.name), measurement.watched(hooks)
    seen = measurement.watched(hooks)
    device = device_evidence(protocol.rules, seen, going.chunks) if protocol.rules else []
    return figure.of(repeats, settings, meter.traits, device), seen
