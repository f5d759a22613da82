"""A farm that listens, with the devices that dial in: this machine's own agent, boards, or both."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilnas.farm import AnyFarm, Farm, FarmError, FarmOptions
from hilnas.farm.devices import DeviceFacts
from hilnas.farm.local_agent import LocalAgent
from hilnas.farm.service import AgentServer
from hilnas.store import ModelFiles


@dataclass
class Devices:
    """A farm and the devices that were there when it was opened."""

    farm: AnyFarm
    facts: list[DeviceFacts]
    agent: LocalAgent | None

    async def unless_agent_fails(self, work: Awaitable[Any]) -> Any:
        """Await `work`; a local agent that cannot be kept alive ends it with that agent's error."""
        return await _unless_agent_fails(work, self.agent)


@asynccontextmanager
async def connected_devices(
    options: FarmOptions,
    models: ModelFiles,
    folder: Path,
    waiting: Callable[[str], object] = lambda address: None,
    prepare: Callable[[Farm], object] = lambda farm: None,
    name: str = "",
    examples: ModelFiles | None = None,
) -> AsyncIterator[Devices]:
    """Listen, start the local agent if one is wanted, and wait for `options.devices`; end it all afterwards.

    One of them must be called `name`, if it is given.
    `examples` are files beside the models. `waiting` is told the address, `prepare` is given the farm before anyone is on it. The local agent keeps
    its log and its cache in `folder`. FarmError when devices don't come, or agents could not be told apart.
    """
    token = os.environ.get("HILNAS_TOKEN", "")
    if not token and not (options.local_agent and options.devices == 1):
        raise FarmError(
            "agents of other machines need a token: set HILNAS_TOKEN in this environment and in that of "
            "each hilnas-agent (deploy/README.md)"
        )
    token = token or secrets.token_urlsafe(32)
    farm = Farm(models, options.wait_s, examples)
    server = AgentServer(farm, token)
    agent: LocalAgent | None = None
    try:
        prepare(farm)
        farm.start()
        address = await server.start(options.listen)
        waiting(address)
        if options.local_agent:
            cpus = options.local_cpus or [max(os.sched_getaffinity(0))]
            agent = LocalAgent(address, token, folder, cpus, options.local_meters)
            await agent.start()
        facts = await _unless_agent_fails(
            farm.registry.wait_for(options.devices, options.wait_s, name), agent
        )
        yield Devices(farm, facts, agent)
    finally:
        await farm.close()
        await server.stop()
        if agent is not None:
            await agent.stop()


async def _unless_agent_fails(work: Awaitable[Any], agent: LocalAgent | None) -> Any:
    if agent is None:
        return await work
    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(agent.failed())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await watch
        return await task
    finally:
        for future in (task, watch):
            future.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)
