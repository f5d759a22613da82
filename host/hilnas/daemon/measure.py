"""Models measured outside a search: what `hilnas measure` calls."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.daemon.agents import Devices, connected_devices
from hilnas.export import Int8Model
from hilnas.export.errors import ExportError
from hilnas.farm import FarmError, FarmOptions, Fidelity, MeasurementOptions
from hilnas.farm.devices import DeviceFacts
from hilnas.measuring import Comparison, Measurer, compare
from hilnas.measuring.accuracy import agreement, outputs_on_device
from hilnas.store import ModelFiles
from hilnas.trial import Agreement, Measurement

Taken = Callable[[Measurement], object]


@dataclass(frozen=True)
class Examples:
    """Inputs to compare a device with the host on, and their labels where they are known."""

    inputs: NDArray[Any]
    """[N, …]: int8 as the model takes them, or float in the model's own units, pictures as [N, C, H, W]."""
    labels: NDArray[np.integer[Any]] | None = None

    def levels(self, model: Int8Model) -> NDArray[np.int8]:
        """Return the inputs as a model takes them. ExportError when they do not fit it."""
        if self.inputs.dtype != np.int8:
            return model.quantize(self.inputs)
        if self.inputs.shape[1:] != model.input_shape[1:]:
            raise ExportError(
                f"the examples are {list(self.inputs.shape[1:])} each, the model takes {list(model.input_shape[1:])}"
            )
        return self.inputs


@dataclass(frozen=True)
class Bench:
    """A device that is there, and everything that measuring on it needs."""

    measurer: Measurer
    models: ModelFiles
    examples: ModelFiles
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

    async def agree(self, content: bytes, examples: Examples) -> Agreement:
        """Return how the device's outputs of examples agree with the host's. FarmError when it gave none."""
        model = Int8Model(content)
        levels = examples.levels(model)
        asked = outputs_on_device(
            self.measurer.farm,
            self.measurer.options,
            self.models.put(content),
            levels,
            model.classes,
            self.examples,
            self.device.device_class,
            self.device.name,
        )
        outputs, ours = await self.devices.unless_agent_fails(
            asyncio.gather(asked, asyncio.to_thread(model.run, levels))
        )
        try:
            return agreement(outputs, ours, examples.labels)
        except ValueError as error:
            raise FarmError(f"the examples gave no outputs: {error}") from error


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
        examples = ModelFiles(Path(folder) / "models", ".npy")
        async with connected_devices(
            farm, models, Path(folder), waiting, name=device, examples=examples
        ) as devices:
            facts = next(facts for facts in devices.facts if device in ("", facts.name))
            offered = [runtime.split()[0] for runtime in facts.runtimes]
            if measurement.runtime and measurement.runtime not in offered:
                raise FarmError(
                    f"{facts.name} does not have the runtime {measurement.runtime}, but {', '.join(offered)}: "
                    "ask for one of those, or install it there"
                )
            yield Bench(Measurer(devices.farm, measurement), models, examples, facts, devices)
