"""FarmService: the farm, for searches in other processes on this machine."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc

from hilnas.daemon.access import Access, admin
from hilnas.daemon.searches import Searches, UnknownSearchError
from hilnas.farm import Ask, Farm
from hilnas.farm.shares import Asker, Priority
from hilnas.store.codec import load
from hilnas_protos.v1 import daemon_pb2 as api
from hilnas_protos.v1 import daemon_pb2_grpc

_PAUSE_S = 0.2
"""News of the farm is sent so often, at most."""


class FarmService(daemon_pb2_grpc.FarmServiceServicer):
    """Serves a farm's measuring. For admins alone: what is asked goes to devices as it is."""

    def __init__(self, farm: Farm, searches: Searches, access: Access) -> None:
        self._farm, self._searches, self._access = farm, searches, access
        self._watchers: set[asyncio.Event] = set()
        farm.listen(self._changed)

    async def Ask(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Have one session taken, and return the device's answer."""
        await admin(self._access, context)
        try:
            ask = load(Ask, json.loads(request.ask))
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"that is no question to a device: {error}")
        search = None
        if request.search_id:
            try:
                search = self._searches.find(request.search_id)
            except UnknownSearchError as error:
                await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        asker = search.asker if search is not None else Asker(priority=Priority.HIGH)
        try:
            job = await self._farm.ask(ask, asker)
        except (FileNotFoundError, ValueError) as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"a file of the measurement is not here: {error}")
        value = job.done.result()
        if job.result is None or job.facts is None or job.given_up:
            failed_on = sorted(job.failed_on)[-1] if job.failed_on else ""
            return api.AskResponse(
                given_up=value.message or "no device answered", failed_on=failed_on, attempts=job.attempt,
                verdict=value.verdict.value,
            )  # fmt: skip
        if search is not None:
            search.device_s += job.result.total_ms / 1000
        return api.AskResponse(
            result=job.result, facts=json.dumps(job.facts.to_json()), rules_known=job.rules_known
        )

    async def WatchFarm(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Send the devices now, and again at each change."""
        await admin(self._access, context)
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            last = None
            while True:
                changed.clear()
                news = self._news()
                if news != last:
                    last = news
                    yield news
                await changed.wait()
                await asyncio.sleep(_PAUSE_S if not self._urgent(last) else 0)
        finally:
            self._watchers.discard(changed)

    async def ReportDevice(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Put a device away."""
        await admin(self._access, context)
        self._farm.quarantine(request.name, request.reason)
        return api.ReportDeviceResponse()

    def _news(self) -> Any:
        facts = [json.dumps(facts.to_json(), sort_keys=True) for facts in self._farm.connected()]
        return api.WatchFarmResponse(
            devices=sorted(facts), activity=self._farm.activity(), measuring_here=self._farm.here.measuring
        )

    def _urgent(self, last: Any) -> bool:
        """Has a device of this very machine begun to measure? Then all must be quiet at once."""
        return bool(last is not None and self._farm.here.measuring != last.measuring_here)

    def _changed(self) -> None:
        for watcher in self._watchers:
            watcher.set()
