"""Takes the sessions of a measurement on the farm, again where they are in doubt, and combines them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from hilnas.farm import Ask, Farm, Fidelity, MeasurementOptions
from hilnas.measuring.combine import broken_rules, combine
from hilnas.trial import FIGURE_VERDICTS, Measurement, Verdict

Sleep = Callable[[float], Awaitable[object]]


class Measurer:
    """Measures stored models by one set of options.

    Sessions of one measurement are jobs of their own, so those of others come between them; all of
    them run on the device that took the first one, while that is there.
    """

    def __init__(self, farm: Farm, options: MeasurementOptions, sleep: Sleep = asyncio.sleep) -> None:
        self.farm = farm
        self.options = options
        self._sleep = sleep

    async def measure(
        self,
        model_sha256: str,
        device_class: str,
        fidelity: Fidelity | None = None,
        device: str = "",
        taken: Callable[[Measurement], object] = lambda session: None,
    ) -> Measurement:
        """Return the measurement of a model on a class of device, or on the one named.

        TRUSTED, or UNSTABLE after all attempts; any other verdict is that of the session that had it.
        `taken` is told of each session.
        """
        fidelity = fidelity or self.options.fidelity
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
            if result.verdict is Verdict.TRUSTED:
                break
            sound = [session for session in everything if not broken_rules(session)]
            # Sound ones that still disagree, or are too few to be sure, are all taken again.
            sessions = [] if len(sound) == len(everything) else sound
        return replace(result, device_ms=spent_ms)
