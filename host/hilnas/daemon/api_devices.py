"""DeviceService: what people and scripts ask of devices."""

import json
import time
from collections.abc import Mapping
from typing import Any

import grpc

from hilnas.daemon.access import Access, admin, refuse
from hilnas.daemon.searches import Searches
from hilnas.errors import HilnasError
from hilnas.farm import Farm
from hilnas.farm.book import Hold, KeptDevice
from hilnas.farm.devices import DeviceState
from hilnas_protos.v1 import daemon_pb2 as api
from hilnas_protos.v1 import daemon_pb2_grpc

LONGEST_RESERVATION_S = 14 * 86_400.0
"""A board that somebody has for longer should be drained."""
_MOST_HISTORY = 1000
_ACTIONS = {"drain": Hold.DRAINING, "release": Hold.NONE, "retire": Hold.RETIRED, "probe": Hold.PROBATION}


class DeviceService(daemon_pb2_grpc.DeviceServiceServicer):
    """Serves the devices of a farm."""

    def __init__(self, farm: Farm, searches: Searches, access: Access) -> None:
        self._farm, self._registry, self._searches, self._access = farm, farm.registry, searches, access
        self._started = time.monotonic()

    async def ListDevices(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return the devices that have all the labels asked for."""
        await self._access.caller(context)
        devices = [self.view(kept) for _, kept in sorted(self._registry.kept.items())]
        wanted = dict(request.labels)
        found = [device for device in devices if _has(device, wanted)]
        return api.ListDevicesResponse(devices=found)

    async def GetDevice(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return one device."""
        await self._access.caller(context)
        return await self._shown(request.name, context)

    async def AddDevice(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Announce a device."""
        await admin(self._access, context)
        try:
            self._registry.add(request.name, request.device_class, request.labels)
        except HilnasError as error:
            await refuse(context, error)
        return await self._shown(request.name, context)

    async def ChangeDevice(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Drain, release, retire or probe a device."""
        caller = await admin(self._access, context)
        if request.action not in _ACTIONS:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f'"{request.action}" is none of {", ".join(_ACTIONS)}'
            )
        reason = request.reason or f"by {caller.name or 'an admin'}"
        try:
            self._registry.hold(request.name, _ACTIONS[request.action], reason)
        except HilnasError as error:
            await refuse(context, error)
        return await self._shown(request.name, context)

    async def LabelDevice(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Set labels of a device."""
        await admin(self._access, context)
        try:
            self._registry.label(request.name, request.labels)
        except HilnasError as error:
            await refuse(context, error)
        return await self._shown(request.name, context)

    async def GetDeviceHistory(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return what happened to a device."""
        await self._access.caller(context)
        try:
            events = self._registry.history(request.name, min(request.limit or 100, _MOST_HISTORY))
        except HilnasError as error:
            await refuse(context, error)
        return api.GetDeviceHistoryResponse(
            events=[api.DeviceEvent(at_unix=e.at_unix, kind=e.kind, text=e.text) for e in events]
        )

    async def ReserveDevice(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Keep a device for a person."""
        caller = await self._access.caller(context)
        user = request.user or caller.name or "local"
        if user != caller.name and not caller.is_admin:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, f"only {user} or an admin reserves for {user}"
            )
        if not 0 < request.seconds <= LONGEST_RESERVATION_S:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"a device is reserved for at most {LONGEST_RESERVATION_S / 86_400:.0f} days: drain it instead",
            )
        try:
            self._registry.reserve(request.name, user, request.seconds)
        except HilnasError as error:
            await refuse(context, error)
        return await self._shown(request.name, context)

    async def _shown(self, name: str, context: Any) -> Any:
        kept = self._registry.kept.get(name)
        if kept is None:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f'there is no device "{name}": see `hilnas device list`'
            )
        assert kept is not None
        return self.view(kept)

    def view(self, kept: KeptDevice) -> Any:
        """Return a device as the wire has it."""
        device, now = self._registry.devices.get(kept.name), time.time()
        facts = device.facts.to_json() if device is not None else kept.facts
        job = self._farm.jobs.get(device.job_id) if device is not None else None
        state = device.state if device is not None else _absent(kept)
        holder = kept.reserved_at(now)
        held = kept.reserved_since_unix if holder else 0.0
        if job is not None:
            held = now - (time.monotonic() - job.given_at)
        seen = kept.seen_unix
        if device is not None and device.session is not None:
            seen = now - (time.monotonic() - device.session.last_seen)
        return api.Device(
            name=kept.name,
            device_class=kept.device_class or (facts or {}).get("device_class", ""),
            state=state,
            reason=kept.reason if kept.hold else (device.doubt if device is not None else ""),
            since_unix=kept.since_unix,
            labels={**_told(facts), **kept.labels},
            search=job.asker.search if job is not None else "",
            user=job.asker.user if job is not None else holder,
            held_since_unix=held,
            reserved_until_unix=kept.reserved_until_unix if holder else 0.0,
            seen_unix=seen,
            facts=json.dumps(facts) if facts else "",
            agent_kib=device.resident_kib if device is not None else 0,
            busy_share=device.busy_ms / 1000 / max(1.0, time.monotonic() - self._started)
            if device is not None
            else 0.0,
        )


def _absent(kept: KeptDevice) -> str:
    if kept.hold is Hold.RETIRED:
        return DeviceState.RETIRED
    return DeviceState.OFFLINE if kept.seen_unix else "NEW"


def _told(facts: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the labels that a device's own facts come to."""
    if not facts:
        return {}
    labels = {"machine": facts["machine"], "runtime": ",".join(name.split()[0] for name in facts["runtimes"])}
    if facts["meters"]:
        labels["meter"] = ",".join(meter["name"] for meter in facts["meters"])
    return labels


def _has(device: Any, wanted: Mapping[str, str]) -> bool:
    """Has a device all of these labels? One of several values, such as a runtime, is enough."""
    labels = {**device.labels, "class": device.device_class, "state": device.state, "name": device.name}
    return all(
        key in labels and (value == labels[key] or value in labels[key].split(","))
        for key, value in wanted.items()
    )
