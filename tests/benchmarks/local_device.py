"""A farm with this machine as its device, for benchmarks that measure models outside a search."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hilnas.daemon.agents import connected_devices
from hilnas.farm import FarmOptions, MeasurementOptions
from hilnas.measuring import Measurer
from hilnas.store import ModelFiles


@asynccontextmanager
async def local_device(options: MeasurementOptions) -> AsyncIterator[tuple[Measurer, ModelFiles, str]]:
    """Give a measurer, its model files, and the device class of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        models = ModelFiles(Path(folder) / "models")
        async with connected_devices(FarmOptions(), models, Path(folder)) as devices:
            yield Measurer(devices.farm, options), models, devices.facts[0].device_class
