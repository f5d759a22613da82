"""A farm in another process: what a search asks of the daemon's devices."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc

from hilnas.farm.answers import without_answer
from hilnas.farm.base import FarmError
from hilnas.farm.devices import DeviceFacts
from hilnas.farm.jobs import Answer, Ask
from hilnas.farm.wire import answer
from hilnas.store.codec import dump
from hilnas.trial import DeviceEnergy, DeviceOutputs, Measurement, Verdict
from hilnas_protos.v1 import daemon_pb2, daemon_pb2_grpc

_PAUSE_S = 1.0
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class RemoteFarm:
    """The daemon's farm, for one search, over a channel of grpc.aio.

    What it asks goes through a restart of the daemon: the same thing asked again is the same job.
    """

    def __init__(self, channel: grpc.aio.Channel, search_id: str) -> None:
        self._stub: Any = daemon_pb2_grpc.FarmServiceStub(channel)
        self._search_id = search_id
        self._devices: list[DeviceFacts] = []
        self._activity: dict[str, str] = {}
        self._measuring_here = False
        self._changed = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self.on_measuring_here: Callable[[bool], None] = lambda measuring: None
        """Told when a device on this very machine begins to measure, and when none does any more."""

    def start(self) -> None:
        """Begin to follow what the devices do."""
        self._watch = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Follow no more."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch

    def connected(self) -> list[DeviceFacts]:
        """Return the devices that are there for this search."""
        return self._devices

    def activity(self) -> dict[str, str]:
        """Return what each device is doing."""
        return self._activity

    async def wait_for(self, classes: set[str]) -> list[DeviceFacts]:
        """Return the devices once there is one of each class; of any, where none is named. Waits for ever."""
        while True:
            here = {facts.device_class for facts in self._devices}
            if self._devices and classes <= here:
                return self._devices
            self._changed.clear()
            await self._changed.wait()

    async def measure(self, ask: Ask) -> Measurement:
        """Return one session of a stored model on a device; faults as in `Farm.measure`."""
        found = await self._ask(ask)
        assert isinstance(found, Measurement)
        return found

    async def evaluate(self, ask: Ask) -> DeviceOutputs:
        """Return what a stored model makes of stored examples on a device."""
        found = await self._ask(ask)
        assert isinstance(found, DeviceOutputs)
        return found

    async def measure_energy(self, ask: Ask) -> DeviceEnergy:
        """Return what an energy pass of a stored model on a device came to."""
        found = await self._ask(ask)
        assert isinstance(found, DeviceEnergy)
        return found

    def quarantine(self, name: str, reason: str) -> None:
        """Say that a device is not what it was."""
        report = daemon_pb2.ReportDeviceRequest(name=name, reason=reason)
        task = asyncio.ensure_future(self._stub.ReportDevice(report))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _ask(self, ask: Ask) -> Answer:
        request = daemon_pb2.AskRequest(search_id=self._search_id, ask=json.dumps(dump(ask)))
        while True:
            try:
                found = await self._stub.Ask(request, wait_for_ready=True)
                break
            except grpc.aio.AioRpcError as error:
                if error.code() not in _PASSING:
                    raise FarmError(f"the daemon refuses the measurement: {error.details()}") from error
                await asyncio.sleep(_PAUSE_S)
        if found.given_up:
            verdict = Verdict(found.verdict) if found.verdict else Verdict.DEVICE_FAULT
            return without_answer(ask, found.failed_on, verdict, found.given_up, found.attempts)
        facts = DeviceFacts.from_json(json.loads(found.facts))
        return answer(found.result, ask, facts, found.rules_known)

    async def _follow(self) -> None:
        request = daemon_pb2.WatchFarmRequest(search_id=self._search_id)
        while True:
            with suppress(grpc.aio.AioRpcError):
                async for news in self._stub.WatchFarm(request, wait_for_ready=True):
                    self._take(news)
            await asyncio.sleep(_PAUSE_S)

    def _take(self, news: daemon_pb2.WatchFarmResponse) -> None:
        self._devices = [DeviceFacts.from_json(json.loads(text)) for text in news.devices]
        self._activity = dict(news.activity)
        if news.measuring_here != self._measuring_here:
            self._measuring_here = news.measuring_here
            self.on_measuring_here(news.measuring_here)
        self._changed.set()
