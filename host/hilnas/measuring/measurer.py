"""Takes the sessions of a measurement on the farm, again where they are in doubt, and combines them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from hilnas.farm import AnyFarm, Ask, Fidelity, MeasurementOptions
from hilnas.measuring.canary import Canaries
from hilnas.measuring.combine import broken_rules, combine, in_doubt, spoiling
from hilnas.trial import FIGURE_VERDICTS, MODEL_FAULTS, CanaryReading, Measurement, Verdict

Sleep = Callable[[float], Awaitable[object]]
Taken = Callable[[Measurement], object]
Heard = Callable[[CanaryReading], object]


class Measurer:
    """Measures stored models by one set of options.

    Sessions of one measurement are jobs of their own, so those of others come between them; all of
    them run on the device that took the first one, while that is there. With the reference model's digest as
    `canary` a device reads it beside its first figure and at intervals; `heard` is told.
    """

    def __init__(
        self,
        farm: AnyFarm,
        options: MeasurementOptions,
        sleep: Sleep = asyncio.sleep,
        canary: str = "",
        heard: Heard = lambda reading: None,
    ) -> None:
        self.farm = farm
        self.options = options
        self.canaries = Canaries(options.canary, time.monotonic)
        self._sleep = sleep
        self._canary, self._heard = canary, heard
        self._reading: dict[str, asyncio.Lock] = {}

    async def measure(
        self,
        model_sha256: str,
        device_class: str,
        fidelity: Fidelity | None = None,
        device: str = "",
        taken: Taken = lambda session: None,
        energy: bool = False,
    ) -> Measurement:
        """Return the measurement of a model on a class of device, or on the one named; with energy if asked.

        Where the canary then shows that the device has changed, it is taken again, on another board of the class
        where this one is put away; a figure of a device that stays off is in doubt. TRUSTED, or UNSTABLE after all
        attempts; any other verdict is that of the session that had it. `taken` is told of each session.
        """
        fidelity = fidelity or self.options.fidelity
        found = await self._sessions(model_sha256, device_class, fidelity, device, taken)
        if self._canary:
            steady = await self._is_steady(found)
            if not steady:
                found = await self._sessions(model_sha256, device_class, fidelity, device, taken)
                await self._is_steady(found)
            found = self._by_canary(found)
        if energy and found.verdict in FIGURE_VERDICTS:
            return await self._with_energy(found, fidelity)
        return found

    async def _is_steady(self, found: Measurement) -> bool:
        """Have the device of a measurement read its canary, if that is due; False where that has shown a change."""
        if found.verdict not in FIGURE_VERDICTS:
            return True
        self.canaries.measured(found.device, found.model_sha256)
        reading = await self._read_canary(found)
        return reading is None or reading.state not in ("drifting", "quarantine")

    def _by_canary(self, found: Measurement) -> Measurement:
        """Return a measurement with its device's factor, and in doubt where the device is not what it was."""
        if found.verdict not in FIGURE_VERDICTS:
            return found
        found = replace(found, canary_factor=self.canaries.factor(found.device))
        off = self.canaries.off(found.device)
        return found if off is None else in_doubt(found, off, self.options.canary.max_drift)

    async def _with_energy(self, found: Measurement, fidelity: Fidelity) -> Measurement:
        """Have the device that was measured measure energy as well, in a pass of its own.

        A fault of the device or its meter leaves the other figures as they are, and says why there is no energy;
        one of the model is that of the measurement.
        """
        ask = Ask(
            found.model_sha256,
            found.device_class,
            self.options,
            fidelity,
            device=found.device,
            energy=True,
            expected_ms=found.latency.median_ms if found.latency else 0.0,
        )
        passed = await self.farm.measure_energy(ask)
        if passed.verdict in MODEL_FAULTS:
            found = replace(
                found, verdict=passed.verdict, message=f"while energy was measured: {passed.message}"
            )
        # What was seen of the device during this pass is no evidence on the latency.
        own = (
            e if e.rule.startswith("energy-") else replace(e, rule=f"energy-{e.rule}")
            for e in passed.evidence
        )
        return replace(
            found,
            energy=passed.energy,
            evidence=(*found.evidence, *own),
            protocol_hash=ask.protocol.hash,
            device_ms=found.device_ms + passed.device_ms,
        )

    async def _read_canary(self, found: Measurement) -> CanaryReading | None:
        """Have the device of a measurement read its canary if that is due; None when it is not.

        A drift is looked at once more after a pause, before anything is doubted.
        """
        async with self._reading.setdefault(found.device, asyncio.Lock()):
            if not self.canaries.is_due(found.device):
                return None
            for last in (False, True):
                canary = await self._sessions(
                    self._canary, found.device_class, Fidelity.SCREEN, found.device, lambda session: None
                )
                reading = self.canaries.read(canary)
                if reading.state != "drifting" or last:
                    break
                await self._sleep(self.options.full.cooldown_s)
            self._heard(reading)
            if reading.doubtful:
                self.canaries.begin_block(found.device)
            if reading.state == "quarantine":
                self.farm.quarantine(found.device, reading.message)
            return reading

    async def _sessions(
        self, model_sha256: str, device_class: str, fidelity: Fidelity, device: str, taken: Taken
    ) -> Measurement:
        protocol = self.options.protocol(fidelity)
        sampling = protocol.sampling
        sessions: list[Measurement] = []
        spent_ms, number = 0.0, 0
        for attempt in range(sampling.remeasures + 1):
            if attempt:
                # A neighbour's burst, a hot spell: what disturbed the sessions needs time to pass.
                await self._sleep(sampling.cooldown_s * 2 ** (attempt - 1))
            fresh: list[Measurement] = []
            while len(sessions) + len(fresh) < sampling.sessions:
                before = [*sessions, *fresh]
                prefer = before[-1].device if before else ""
                ask = Ask(model_sha256, device_class, self.options, fidelity, number, device, prefer)
                number += 1
                session = await self.farm.measure(ask)
                spent_ms += session.device_ms
                taken(session)
                if session.verdict not in FIGURE_VERDICTS:
                    return session
                if prefer and session.device != prefer:
                    sessions, fresh = [], []  # another board goes on: the two must not be mixed
                fresh.append(session)
            everything = [*sessions, *fresh]
            result = combine(everything, protocol, seed=attempt)
            # What an old agent cannot check, it cannot check the next time either.
            if result.verdict is Verdict.TRUSTED or {e.rule for e in spoiling(result)} == {"agent"}:
                break
            sound = [session for session in everything if not broken_rules(session)]
            # Sound ones that still disagree, or are too few to be sure, are all taken again.
            sessions = [] if len(sound) == len(everything) else sound
        return replace(result, device_ms=spent_ms)
