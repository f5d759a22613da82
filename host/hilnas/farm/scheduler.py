"""Who gets which device: a pure function, so that it can be tested on its own."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Waiting:
    """A job that waits, in the order of arrival."""

    job_id: str
    device_class: str
    avoid: frozenset[str] = frozenset()
    """Devices that failed it already."""
    device: str = ""
    """The one device that may take it; any of the class when empty."""
    prefer: str = ""
    """The device that should take it, and is waited for while it is there and has not failed it."""

    def may_run_on(self, device: "Free") -> bool:
        """Is a device one of those asked for?"""
        return device.device_class == self.device_class and self.device in ("", device.name)


@dataclass(frozen=True)
class Free:
    """A device that is ready for a job."""

    name: str
    device_class: str


def assign(waiting: Sequence[Waiting], free: Sequence[Free], known: Sequence[Free]) -> list[tuple[str, str]]:
    """Return (job, device) pairs: first come, first served within a class; each device once.

    A device that failed a job gets it again only when every known one that may run it did. `known` are those
    that are connected, `free` those of them that have nothing to do.
    """
    pairs: list[tuple[str, str]] = []
    left = list(free)
    for job in waiting:
        everyone = {device.name for device in known if job.may_run_on(device)}
        avoid = job.avoid if everyone - job.avoid else frozenset()
        allowed = everyone - avoid
        if job.prefer in allowed:
            allowed = {job.prefer}
        for device in left:
            if device.name in allowed:
                pairs.append((job.job_id, device.name))
                left.remove(device)
                break
    return pairs
