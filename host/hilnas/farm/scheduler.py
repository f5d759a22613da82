"""Who gets which device: a pure function, so that it can be tested on its own."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from hilnas.farm.shares import NOBODY, Asker, Shares

USUAL_S = 3.0
"""What a job is taken to last before it is known, in s."""


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
    asker: Asker = NOBODY
    expected_s: float = USUAL_S
    """Device time that it is expected to take."""

    def may_run_on(self, device: "Free") -> bool:
        """Is a device one of those asked for, and may this job's owner use it?"""
        asked = device.device_class == self.device_class and self.device in ("", device.name)
        return asked and device.reserved_for in ("", self.asker.user)


@dataclass(frozen=True)
class Free:
    """A device that is ready for a job, or that works on one."""

    name: str
    device_class: str
    reserved_for: str = ""
    """The one user whose jobs it takes; anybody's when empty."""
    last_search: str = ""
    """The search whose job it took last: its models and its canary are there."""


def assign(
    waiting: Sequence[Waiting], free: Sequence[Free], known: Sequence[Free], shares: Shares | None = None
) -> list[tuple[str, str]]:
    """Return (job, device) pairs; each device once.

    Priority classes first; then the user, and among a user's searches the one, that had the least device time for
    its weight; then first come, first served. A device that failed a job gets it again only when every known one
    that may run it did. `known` are those that are connected, `free` those of them that have nothing to do.
    `shares` are read, and not changed.
    """
    if not waiting or not free:
        return []
    given = shares.copy() if shares is not None else Shares()
    by_class: dict[str, dict[str, Free]] = defaultdict(dict)
    for device in known:
        by_class[device.device_class][device.name] = device
    ready: dict[str, dict[str, Free]] = defaultdict(dict)
    for device in free:
        ready[device.device_class][device.name] = device
    queues: dict[Asker, deque[Waiting]] = defaultdict(deque)
    for job in waiting:
        queues[job.asker].append(job)
    wanted = {name for job in waiting for name in (job.device, job.prefer) if name}
    pairs: list[tuple[str, str]] = []
    while queues and any(ready.values()):
        asker = min(queues, key=given.turn)  # of equals the one that came first: dicts keep their order
        found = _next_of(queues[asker], ready, by_class, wanted)
        if found is None:
            del queues[asker]
            continue
        job, device = found
        pairs.append((job.job_id, device.name))
        del ready[device.device_class][device.name]
        given.charge(asker, job.expected_s)
    return pairs


_Devices = Mapping[str, Mapping[str, Free]]
"""By class and name."""


def _next_of(
    queue: deque[Waiting], ready: _Devices, known: _Devices, wanted: Set[str]
) -> tuple[Waiting, Free] | None:
    """Take the first job out of a queue that can start now, with its device."""
    for place, job in enumerate(queue):
        if not ready.get(job.device_class):
            continue
        device = _choose(job, ready[job.device_class], known[job.device_class], wanted)
        if device is not None:
            del queue[place]
            return job, device
    return None


def _choose(
    job: Waiting, ready: Mapping[str, Free], known: Mapping[str, Free], wanted: Set[str]
) -> Free | None:
    """Return the device that a job should have of those that are ready; None when it should wait."""
    avoid = job.avoid
    if avoid and all(name in avoid or not job.may_run_on(device) for name, device in known.items()):
        avoid = frozenset()
    preferred = known.get(job.prefer)
    if preferred is not None and job.prefer not in avoid and job.may_run_on(preferred):
        return ready.get(job.prefer)
    if job.device:
        named = ready.get(job.device)
        return named if named is not None and job.device not in avoid and job.may_run_on(named) else None
    best, least = None, (True, True, True)
    for name, device in ready.items():
        if name in avoid or not job.may_run_on(device):
            continue
        # What only this user may have; what no other job waits for by name; where the search was before.
        search = job.asker.search
        cost = (not device.reserved_for, name in wanted, not search or device.last_search != search)
        if best is None or cost < least:
            best, least = device, cost
        if not any(cost[1:]):
            break
    return best
