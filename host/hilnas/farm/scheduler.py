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


@dataclass(frozen=True)
class Free:
    """A device that is ready for a job."""

    name: str
    device_class: str


def assign(waiting: Sequence[Waiting], free: Sequence[Free], known: Sequence[Free]) -> list[tuple[str, str]]:
    """Return (job, device) pairs: first come, first served within a class, each device once.

    A device that failed a job gets it again only when every known one of its class did.
    """
    pairs: list[tuple[str, str]] = []
    left = list(free)
    for job in waiting:
        everyone = {device.name for device in known if device.device_class == job.device_class}
        avoid = job.avoid if everyone - job.avoid else frozenset()
        for device in left:
            if device.device_class == job.device_class and device.name not in avoid:
                pairs.append((job.job_id, device.name))
                left.remove(device)
                break
    return pairs
