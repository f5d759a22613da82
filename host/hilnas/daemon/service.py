"""The daemon: store, farm, searches and API in one process, from its start to its end."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

from hilnas.daemon.access import CertificateAccess, SocketAccess
from hilnas.daemon.api import AddService, Health, SocketServer, api_services
from hilnas.daemon.check import check_store
from hilnas.daemon.lab import SETTINGS_FILE, Lab
from hilnas.daemon.metrics import Metrics
from hilnas.daemon.notify import keep_alive, notify
from hilnas.daemon.searches import Searches
from hilnas.daemon.tunnel_book import TunnelBook
from hilnas.daemon.tunnels import Tunnels
from hilnas.daemon.warden import Warden
from hilnas.farm import Farm
from hilnas.farm.lab_book import LabBook
from hilnas.farm.local_agent import LocalAgent
from hilnas.farm.service import AgentServer
from hilnas.farm.shares import Shares
from hilnas.measuring.canary import canary_model
from hilnas.options import OptionsError
from hilnas.security.authority import Authority
from hilnas.security.enrol import EnrolService, JoinServer
from hilnas.security.tokens import JoinTokens
from hilnas.store import Record
from hilnas.store.garbage import DAY_S, collect
from hilnas.store.lab import Submissions
from hilnas.store.lock import exclusive
from hilnas_protos.v1 import enrol_pb2_grpc

_log = logging.getLogger(__name__)

AGAIN_AFTER_S = 60.0
BACK_IN_MS = 2000
"""Agents are told to dial again after so long when the daemon leaves."""


@dataclass
class Daemon:
    """A daemon that runs."""

    lab: Lab
    record: Record
    farm: Farm
    searches: Searches
    tunnels: Tunnels
    started_unix: float = field(default_factory=time.time)
    agents_address: str = ""
    api_address: str = ""
    draining: bool = False


async def run_daemon(lab: Lab, ready: Callable[[Daemon], object] = lambda daemon: None) -> None:
    """Serve until SIGTERM or SIGINT, then leave so that all goes on with the next start.

    StoreError when the folder is another daemon's, or its record is damaged; OSError when an address is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lab.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    async with _daemon(lab) as daemon:
        _log.info("ready", extra={"agents": daemon.agents_address, "socket": str(lab.socket)})
        notify("READY=1", f"STATUS={len(daemon.searches.all())} searches, agents at {daemon.agents_address}")
        ready(daemon)
        await stop.wait()
        notify("STOPPING=1")
        _log.info("leaving: searches stop where they are, and go on with the next start")
        daemon.draining = True


@asynccontextmanager
async def _daemon(lab: Lab) -> AsyncIterator[Daemon]:
    async with AsyncExitStack() as stack:
        stack.enter_context(exclusive(lab.folder))
        check_store(lab.store)
        record = stack.enter_context(closing(Record(lab.store)))
        book = stack.enter_context(closing(LabBook(record)))
        shares = Shares(lab.options.user_weights)
        farm = Farm(lab.models, None, lab.examples, book, strict=True, shares=shares)
        searches = Searches(lab, Submissions(record), farm)
        tunnels = Tunnels(TunnelBook(lab.ssh), lab.options.tunnel_silence_s)
        daemon = Daemon(lab, record, farm, searches, tunnels)
        stack.push_async_callback(tunnels.close)
        stack.push_async_callback(farm.close, BACK_IN_MS)
        farm.start()
        if lab.options.metrics:
            Metrics(farm, searches, tunnels).serve(lab.options.metrics)
        health, authority = Health(), _authority(lab)
        agents = AgentServer(farm, lab.token(), authority)
        stack.push_async_callback(agents.stop)
        daemon.agents_address = await agents.start(lab.options.listen_local)
        tunnels.to = _address(daemon.agents_address)
        if authority is not None:
            await _let_in(stack, daemon, agents, authority, health)
        api = SocketServer([*api_services(daemon, SocketAccess()), health.add])
        stack.push_async_callback(api.stop)
        await api.start(lab.socket)
        await health.say(is_serving=True)
        stack.push_async_callback(health.say, is_serving=False)
        await _local_agent(stack, daemon)
        for work in (
            keep_alive,
            searches.keep_progress,
            Warden(farm, lab.options.canary_minutes * 60).run,
            partial(_clean_up, lab, record),
            tunnels.run,
        ):
            _beside(stack, for_months(work))
        # Last in, first out: searches stop while farm and API are still there to take what they finish.
        stack.push_async_callback(searches.close)
        searches.start()
        yield daemon


def _address(text: str) -> tuple[str, int]:
    name, _, port = text.rpartition(":")
    return name.strip("[]"), int(port)


def _authority(lab: Lab) -> Authority | None:
    """Return the lab's authority; None for a lab without one, which nobody elsewhere can reach."""
    options = lab.options
    if (lab.authority / "ca.pem").exists():
        return Authority.open(lab.authority)
    if options.listen or options.listen_join:
        raise OptionsError(
            f"{lab.folder / SETTINGS_FILE} has devices and people elsewhere dial in, but the lab has no certificates: "
            "make them with `hilnas daemon init`"
        )
    return None


async def _let_in(
    stack: AsyncExitStack, daemon: Daemon, agents: AgentServer, authority: Authority, health: Health
) -> None:
    """Listen for those who are elsewhere."""
    options, registry = daemon.lab.options, daemon.farm.registry

    def joined(name: str, device_class: str) -> None:
        if name not in registry.kept:
            registry.add(name, device_class, {})

    enrol = EnrolService(authority, JoinTokens.beside(authority), joined)
    if options.listen:
        services: list[AddService] = [
            *api_services(daemon, CertificateAccess(authority)),
            health.add,
            partial(enrol_pb2_grpc.add_EnrolServiceServicer_to_server, enrol),
        ]
        daemon.api_address = await agents.start_tls(options.listen, services)
    if options.listen_join:
        join = JoinServer(enrol, authority)
        stack.push_async_callback(join.stop)
        await join.start(options.listen_join)


async def _local_agent(stack: AsyncExitStack, daemon: Daemon) -> None:
    lab = daemon.lab
    if not lab.options.local_agent:
        return
    cpus = lab.options.local_cpus or [max(os.sched_getaffinity(0))]
    agent = LocalAgent(daemon.agents_address, lab.token(), lab.folder, cpus)
    stack.push_async_callback(agent.stop)
    await agent.start()


async def _clean_up(lab: Lab, record: Record) -> None:
    """Remove what nobody refers to, once a day; for ever."""
    while lab.options.keep_days:
        for files in (lab.models, lab.examples):
            reachable = await asyncio.to_thread(record.model_digests)
            reachable.add(sha256(canary_model()).hexdigest())
            count, size = await asyncio.to_thread(collect, files, reachable, lab.options.keep_days)
            if count:
                _log.info("removed %d files, %.1f MiB, that no search refers to", count, size / 2**20)
        await asyncio.sleep(DAY_S)


async def for_months(work: Callable[[], Awaitable[None]], pause_s: float = AGAIN_AFTER_S) -> None:
    """Do something that goes on for ever, or has an end; where it breaks off it is begun again after a while."""
    while True:
        try:
            return await work()
        except Exception:  # noqa: BLE001 - whatever it is, the daemon goes on
            _log.exception(
                "something that the daemon does beside broke off; it begins again in %g s", pause_s
            )
            await asyncio.sleep(pause_s)


def _beside(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)
