"""Models measured outside a search: what `hilnas measure` calls."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hilnas.daemon.agents import Devices, connected_devices
from hilnas.farm import FarmError, FarmOptions, Fidelity, MeasurementOptions
from hilnas.farm.devices import DeviceFacts
from hilnas.measuring import Comparison, Measurer, compare
from hilnas.store import ModelFiles
from hilnas.trial import Measurement

Taken = Callable[[Measurement], object]


@dataclass(frozen=True)
class Bench:
    """A device that is there, and everything that measuring on it needs."""

    measurer: Measurer
    models: ModelFiles
    device: DeviceFacts
    devices: Devices

    async def measure(
        self,
        contents: list[bytes],
        fidelity: Fidelity,
        taken: Taken = lambda session: None,
        energy: bool = False,
    ) -> list[Measurement]:
        """Return a measurement of each model. Their sessions come in turns: a disturbance hits none alone."""
        asked = (
            self.measurer.measure(
                self.models.put(content), self.device.device_class, fidelity, self.device.name, taken, energy
            )
            for content in contents
        )
        found: list[Measurement] = await self.devices.unless_agent_fails(asyncio.gather(*asked))
        return found

    async def compare(
        self, first: bytes, second: bytes, fidelity: Fidelity, taken: Taken = lambda session: None
    ) -> Comparison:
        """Return the comparison of two models."""
        digests = (self.models.put(first), self.models.put(second))
        found: Comparison = await self.devices.unless_agent_fails(
            compare(self.measurer, *digests, self.device.device_class, fidelity, self.device.name, taken)
        )
        return found


@asynccontextmanager
async def bench(
    farm: FarmOptions,
    measurement: MeasurementOptions,
    device: str = "",
    waiting: Callable[[str], object] = lambda address: None,
) -> AsyncIterator[Bench]:
    """Give a bench with the device of that name, or with the first one that comes.

    FarmError when none comes, or when it does not have the runtime asked for.
    """
    with tempfile.TemporaryDirectory(prefix="hilnas-") as folder:
        models = ModelFiles(Path(folder) / "models")
        async with connected_devices(farm, models, Path(folder), waiting, name=device) as devices:
            facts = next(facts for facts in devices.facts if device in ("", facts.name))
            offered = [runtime.split()[0] for runtime in facts.runtimes]
            if measurement.runtime and measurement.runtime not in offered:
                raise FarmError(
                    f"{facts.name} does not have the runtime {measurement.runtime}, but {', '.join(offered)}: "
                    "ask for one of those, or install it there"
                )
            yield Bench(Measurer(devices.farm, measurement), models, facts, devices)
