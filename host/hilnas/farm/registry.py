"""The devices that a farm knows: who is there, who is held back and why, and what people said of them."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from hilnas.errors import HilnasError
from hilnas.farm.base import FarmError
from hilnas.farm.book import Book, DeviceEvent, Hold, KeptDevice
from hilnas.farm.devices import Device, DeviceFacts, DeviceState, Session
from hilnas.farm.scheduler import Free

MOST_FAULTS = 3
"""A device with so many faults in a row is quarantined."""
CLEAN_CANARIES = 3
"""A quarantined device comes back after so many canaries in a row that found nothing wrong."""
CANARY_USER = "hilnas canary"
"""Who may use a device that is held back: nobody but the reference model. No certificate has this name."""

WORKING = (DeviceState.READY, DeviceState.LEASED)
TRIED = (Hold.PROBATION, Hold.QUARANTINED)
"""Devices held so read the canary, to see whether they are fit."""


class DeviceError(HilnasError, RuntimeError):
    """A device cannot be changed as asked; the message says why."""


class Registry:
    """Devices by name. Belongs to one event loop.

    `strict` is a lab's way: a new device is on probation until it has read the canary, and one that fails is put
    away even if it is the only one of its class. Without it a device that fails goes on where there is no other.
    """

    def __init__(self, book: Book, strict: bool = False, now: Callable[[], float] = time.time) -> None:
        self._book, self.strict, self._now = book, strict, now
        self.devices: dict[str, Device] = {}
        """Those that have dialled in since this process started."""
        self.kept: dict[str, KeptDevice] = {device.name: device for device in book.devices()}
        """All that are known."""
        self.on_change: Callable[[], None] = lambda: None
        self._arrived = asyncio.Event()

    def attach(self, facts: DeviceFacts, session: Session) -> Device:
        """Take a device's new stream; an older one of the same device is ended."""
        kept = self.kept.get(facts.name)
        if kept is None:
            hold = Hold.PROBATION if self.strict else Hold.NONE
            kept = KeptDevice(facts.name, since_unix=self._now(), hold=hold)
            self._book.note(facts.name, "new", f"a {facts.device_class} that was not known before")
        if kept.device_class:
            facts = replace(facts, device_class=kept.device_class)
        device = self.devices.setdefault(facts.name, Device(facts, kept))
        if device.session is not None:
            device.session.end("a newer connection of this device took over")
        device.facts, device.session = facts, session
        self._keep(replace(kept, seen_unix=self._now(), facts=facts.to_json()))
        self._arrived.set()
        self._book.note(facts.name, "online", f"agent {facts.agent_version}, boot {session.boot_id[:8]}")
        return device

    def detach(self, device: Device, why: str = "its stream ended") -> None:
        """Note that a device's stream has ended."""
        device.session, device.measuring = None, False
        self._keep(replace(device.kept, seen_unix=self._now()))
        self._book.note(device.name, "offline", why)

    async def wait_for(self, count: int, timeout_s: float, name: str = "") -> list[DeviceFacts]:
        """Return the connected devices once there are `count`, among them the one called `name` if it is given.

        FarmError when they don't come in time.
        """
        deadline = time.monotonic() + timeout_s
        while not self._all_there(connected := self.connected(), count, name):
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                names = ", ".join(facts.name for facts in connected) or "none"
                wanted = f'device "{name}"' if name else f"{count} device(s)"
                raise FarmError(
                    f"waited {timeout_s:.0f} s for {wanted}, connected: {names}; start `hilnas-agent "
                    "--host ADDRESS` on each (deploy/README.md)"
                ) from None
        return connected

    @staticmethod
    def _all_there(connected: list[DeviceFacts], count: int, name: str) -> bool:
        return len(connected) >= count and (not name or any(facts.name == name for facts in connected))

    def connected(self) -> list[DeviceFacts]:
        """Return the devices that have a stream."""
        return [device.facts for device in self.devices.values() if device.session is not None]

    def free(self, device: Device) -> Free | None:
        """Return a device as the scheduler sees it; None while it takes no jobs at all."""
        kept, state = device.kept, device.state
        facts = device.facts
        if kept.hold in TRIED and device.session is not None:
            return Free(facts.name, facts.device_class, CANARY_USER)
        if state not in WORKING:
            return None
        return Free(facts.name, facts.device_class, kept.reserved_at(self._now()), device.last_search)

    def add(self, name: str, device_class: str, labels: Mapping[str, str]) -> KeptDevice:
        """Announce a device. DeviceError when it is known already."""
        if name in self.kept:
            raise DeviceError(f'there is a device "{name}" already: label or release it instead')
        hold = Hold.PROBATION if self.strict else Hold.NONE
        kept = KeptDevice(name, device_class, dict(labels), hold, since_unix=self._now())
        self._book.note(name, "added", f"class {device_class or 'by its own word'}")
        self._keep(kept)
        return kept

    def hold(self, name: str, hold: Hold, reason: str) -> None:
        """Hold a device back, or let it go with Hold.NONE. DeviceError when it is not known."""
        kept = self._known(name)
        device = self.devices.get(name)
        if device is not None:
            device.faults = []
            device.doubt = reason if hold is Hold.QUARANTINED else ""
        self._book.note(name, hold.value.lower() or "released", reason)
        if hold is Hold.NONE:
            kept = replace(kept, reserved_for="", reserved_until_unix=0.0)
        self._keep(replace(kept, hold=hold, reason=reason, since_unix=self._now(), clean_canaries=0))

    def label(self, name: str, labels: Mapping[str, str]) -> None:
        """Set labels; an empty value takes one away."""
        kept = self._known(name)
        merged = {**kept.labels, **labels}
        self._book.note(name, "labelled", ", ".join(f"{key}={value}" for key, value in labels.items()))
        self._keep(replace(kept, labels={key: value for key, value in merged.items() if value}))

    def reserve(self, name: str, user: str, seconds: float) -> None:
        """Keep a device for one user. DeviceError when it is another's."""
        kept, now = self._known(name), self._now()
        holder = kept.reserved_at(now)
        if holder not in ("", user):
            left = (kept.reserved_until_unix - now) / 60
            raise DeviceError(
                f"{name} is reserved for {holder} for {left:.0f} more minutes: ask them, or an admin"
            )
        if not user:
            raise DeviceError("a device is reserved for somebody: give a user")
        self._book.note(name, "reserved", f"for {user}, {seconds / 3600:.3g} h")
        since = kept.reserved_since_unix if holder else now
        until = now + seconds
        self._keep(replace(kept, reserved_for=user, reserved_since_unix=since, reserved_until_unix=until))

    def faulted(self, device: Device, text: str) -> None:
        """Count a fault of a device or its link; the third in a row quarantines it."""
        device.faults.append(text)
        self._book.note(device.name, "fault", text)
        if len(device.faults) >= MOST_FAULTS and device.kept.hold is Hold.NONE:
            self.quarantine(device, f"{len(device.faults)} faults in a row: " + "; ".join(device.faults))

    def worked(self, device: Device) -> None:
        """Note that a device has done a job as it should."""
        device.faults = []

    def absolve(self, names: Mapping[str, str]) -> None:
        """Take back the last fault of each device: a candidate was to blame."""
        for name, why in names.items():
            device = self.devices.get(name)
            if device is not None and device.faults:
                device.faults.pop()
                self._book.note(name, "absolved", why)

    def quarantine(self, device: Device, reason: str) -> bool:
        """Give a device no more jobs; where it is not strict, only if its class has another that may go on."""
        device.doubt = reason
        others = (
            other
            for other in self.devices.values()
            if other is not device
            and other.facts.device_class == device.facts.device_class
            and other.state in WORKING
        )
        if not self.strict and not any(others):
            self._book.note(device.name, "doubted", reason)
            return False
        self.hold(device.name, Hold.QUARANTINED, reason)
        return True

    def canary(
        self, name: str, median_ms: float | None, trusted: bool, max_drift: float, message: str
    ) -> None:
        """Take what the reference model said of a device that is held, `median_ms` None without a figure.

        On probation any figure lets it go: each figure has a verdict of its own. Out of quarantine it takes some
        that are TRUSTED and within `max_drift` of the first one ever; what is UNSTABLE says nothing either way.
        """
        kept = self._known(name)
        if kept.hold not in TRIED:
            return
        drift = median_ms / kept.canary_ms - 1 if median_ms is not None and kept.canary_ms else 0.0
        told = f"{median_ms:.4g} ms, {drift:+.1%}" if median_ms is not None else "no figure"
        self._book.note(name, "canary", f"{told}{', ' + message if message else ''}")
        if median_ms is not None and trusted and not kept.canary_ms:
            kept = replace(kept, canary_ms=median_ms)
        if median_ms is None or (trusted and abs(drift) > max_drift):
            self._keep(replace(kept, clean_canaries=0))
            return
        count = kept.clean_canaries + (trusted or kept.hold is Hold.PROBATION)
        self._keep(replace(kept, clean_canaries=count))
        if count >= (1 if kept.hold is Hold.PROBATION else CLEAN_CANARIES):
            self.hold(name, Hold.NONE, f"{count} clean canaries" if count > 1 else "a clean canary")

    def history(self, name: str, limit: int) -> list[DeviceEvent]:
        """Return what happened to a device, the newest first. DeviceError when it is not known."""
        self._known(name)
        return self._book.history(name, limit)

    def _known(self, name: str) -> KeptDevice:
        kept = self.kept.get(name)
        if kept is None:
            raise DeviceError(f'there is no device "{name}": see `hilnas device list`')
        return kept

    def _keep(self, kept: KeptDevice) -> None:
        self.kept[kept.name] = kept
        device = self.devices.get(kept.name)
        if device is not None:
            device.kept = kept
        self._book.keep(kept)
        self.on_change()
