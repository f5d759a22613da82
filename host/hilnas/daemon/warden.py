"""Has devices that are held back read the reference model, until it says that they are fit again."""

import asyncio
import logging
import math
import time

from hilnas.errors import HilnasError
from hilnas.farm import Farm, Fidelity, MeasurementOptions
from hilnas.farm.book import Hold
from hilnas.farm.on_behalf import OnBehalf
from hilnas.farm.registry import CANARY_USER, TRIED
from hilnas.farm.shares import Asker, Priority
from hilnas.measuring import Measurer
from hilnas.measuring.canary import canary_model
from hilnas.trial import FIGURE_VERDICTS, Verdict

_log = logging.getLogger(__name__)

_LOOK_S = 2.0
_AGAIN_S = 10.0


class Warden:
    """Looks after devices on probation, as soon as they are there, and in quarantine, every so many seconds.

    Belongs to one event loop.
    """

    def __init__(self, farm: Farm, every_s: float) -> None:
        self._farm, self._every_s = farm, every_s
        self._options = MeasurementOptions()
        self._measurer = Measurer(
            OnBehalf(farm, Asker(user=CANARY_USER, priority=Priority.HIGH)), self._options
        )
        self._digest = farm.models.put(canary_model())
        self._last: dict[str, float] = {}
        self._seen: dict[str, tuple[float, float]] = {}
        """Since when a device is held, by the clock of the day, and when that was first seen, by the monotonic one."""
        self._trying: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Look after devices for ever."""
        try:
            while True:
                for name, device in list(self._farm.devices.items()):
                    if device.kept.hold in TRIED and device.session is not None and name not in self._trying:
                        self._try_if_due(name, device.kept.hold, device.kept.since_unix)
                await asyncio.sleep(_LOOK_S)
        finally:
            for task in self._trying.values():
                task.cancel()

    def _try_if_due(self, name: str, hold: Hold, since_unix: float) -> None:
        # What is new is asked at once; what has been put away is left to settle, by either clock: one may be stepped.
        pause_s, now = _AGAIN_S if hold is Hold.PROBATION else self._every_s, time.monotonic()
        if self._seen.get(name, (0.0, 0.0))[0] != since_unix:
            self._seen[name] = since_unix, now
        settled_s = max(now - self._seen[name][1], time.time() - since_unix)
        settled = hold is Hold.PROBATION or settled_s >= pause_s
        if now - self._last.get(name, -math.inf) < pause_s or not settled:
            return
        self._last[name] = now
        self._trying[name] = task = asyncio.create_task(self._try(name))
        task.add_done_callback(lambda _: self._trying.pop(name, None))

    async def _try(self, name: str) -> None:
        device = self._farm.devices[name]
        try:
            found = await self._measurer.measure(
                self._digest, device.facts.device_class, Fidelity.SCREEN, device=name
            )
        except HilnasError as error:
            _log.warning("the canary of %s could not be read: %s", name, error)
            return
        latency = found.latency if found.verdict in FIGURE_VERDICTS else None
        self._farm.registry.canary(
            name,
            latency.median_ms if latency is not None else None,
            found.verdict is Verdict.TRUSTED,
            self._options.canary.max_drift,
            found.message,
        )
