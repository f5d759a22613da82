"""A daemon's devices while boards are deployed and upgraded: drained, waited for, tried, given jobs again."""

import time
from collections.abc import Callable
from typing import Any

from hilnas.daemon.client import TIMEOUT_S, DaemonError, Where, daemon_at
from hilnas_protos.v1 import daemon_pb2 as api

_POLL_S = 0.5
DRAIN_S, READY_S, CANARY_S = 900.0, 120.0, 180.0
"""How long a device may take to finish its job, to dial in, to read the canary."""
_THERE = ("PROBATION", "READY", "LEASED", "DRAINING", "DRAINED", "QUARANTINED")


class LabFleet:
    """Devices of a daemon, for `hilnas.provision`. DaemonError says what did not come about."""

    def __init__(
        self, where: Where, sleep: Callable[[float], object] = time.sleep, ready_s: float = READY_S
    ) -> None:
        self._where, self._sleep, self._ready_s = where, sleep, ready_s
        self._since: dict[str, float] = {}

    def classes(self) -> dict[str, str]:
        """Return the class of each device that the daemon knows."""
        with daemon_at(self._where) as stubs:
            found = stubs.devices.ListDevices(api.ListDevicesRequest(), timeout=TIMEOUT_S).devices
        return {device.name: device.device_class for device in found}

    def drain(self, device: str) -> None:
        """Return when no job runs on it, and none will be given to it."""
        self._since[device] = time.time()
        self._change(device, "drain", "it is upgraded")
        self._wait(device, ("DRAINED", "OFFLINE", "NEW"), DRAIN_S, "finished its job")

    def wait_ready(self, device: str) -> None:
        """Return when its agent has dialled in, anew if it was drained before, and could take jobs."""
        since, ends = self._since.get(device, 0.0), time.monotonic() + self._ready_s
        while True:
            found = self._find(device)
            if (
                found is not None
                and found.state in _THERE
                and (not since or self._online_after(device, since))
            ):
                return
            if time.monotonic() >= ends:
                state = found.state.lower() if found is not None else "unknown"
                raise DaemonError(
                    f"{device} has not dialled in within {self._ready_s:.0f} s (it is {state}): see `journalctl -u "
                    "hilnas-agent` on the board"
                )
            self._sleep(_POLL_S)

    def canary(self, device: str) -> None:
        """Have it read the reference model before it gets jobs; an error when its figure is not what it was."""
        self._change(device, "probe", "it was upgraded")
        self._wait(device, ("READY", "LEASED"), CANARY_S, "read the canary as before")

    def release(self, device: str) -> None:
        """Give it jobs again."""
        found = self._find(device)
        if found is not None and found.state in ("DRAINING", "DRAINED"):
            self._change(device, "release", "its upgrade is over")

    def _wait(self, device: str, states: tuple[str, ...], seconds: float, what: str) -> None:
        ends = time.monotonic() + seconds
        while (found := self._find(device)) is not None and found.state not in states:
            if time.monotonic() >= ends:
                last = self._last(device, "canary")
                raise DaemonError(
                    f"{device} has not {what} within {seconds:.0f} s (it is {found.state.lower()})"
                    + (f": {last}" if last else "")
                )
            self._sleep(_POLL_S)

    def _find(self, device: str) -> Any:
        with daemon_at(self._where) as stubs:
            request = api.ListDevicesRequest(labels={"name": device})
            found = stubs.devices.ListDevices(request, timeout=TIMEOUT_S).devices
        return found[0] if found else None

    def _online_after(self, device: str, since_unix: float) -> bool:
        return any(event.kind == "online" and event.at_unix > since_unix for event in self._events(device))

    def _last(self, device: str, kind: str) -> str:
        return next((str(event.text) for event in self._events(device) if event.kind == kind), "")

    def _events(self, device: str) -> Any:
        with daemon_at(self._where) as stubs:
            request = api.GetDeviceHistoryRequest(name=device, limit=20)
            return stubs.devices.GetDeviceHistory(request, timeout=TIMEOUT_S).events

    def _change(self, device: str, action: str, reason: str) -> None:
        if self._find(device) is None:
            return  # the daemon has never seen it: there is nothing to drain
        with daemon_at(self._where) as stubs:
            request = api.ChangeDeviceRequest(name=device, action=action, reason=reason)
            stubs.devices.ChangeDevice(request, timeout=TIMEOUT_S)
