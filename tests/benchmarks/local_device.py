"""A farm with this machine as its device, for benchmarks that measure models outside a search."""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hilnas.farm import Farm, MeasurementOptions
from hilnas.farm.local_agent import LocalAgent
from hilnas.farm.service import AgentServer
from hilnas.store import ModelFiles


@asynccontextmanager
async def local_device(options: MeasurementOptions) -> AsyncIterator[tuple[Farm, ModelFiles, str]]:
    """Give a farm, its model files, and the device class of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        models = ModelFiles(Path(folder) / "models")
        farm = Farm(models, options)
        server = AgentServer(farm, "benchmark")
        farm.start()
        address = await server.start("127.0.0.1:0")
        agent = LocalAgent(address, "benchmark", Path(folder), [max(os.sched_getaffinity(0))])
        await agent.start()
        try:
            (facts,) = await farm.wait_for(1, 60)
            yield farm, models, facts.device_class
        finally:
            await farm.close()
            await server.stop()
            await agent.stop()
