"""Jobs that devices have from before this host was started, kept for whoever had asked for them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from hilnas_protos.v1 import agent_pb2, measurement_pb2

ADOPT_WITHIN_S = 300.0
"""How long they are kept."""


@dataclass
class Orphan:
    """A job that a device has, and nobody has asked this host for yet."""

    device: str
    attempt: int
    fence: int
    since: float
    """By the monotonic clock."""
    result: measurement_pb2.MeasureResult | None = None
    """Its answer, when that has come before anybody asked."""


class Orphans:
    """Orphans by job. `first_fence` is this host's first: a smaller one was given by an earlier host."""

    def __init__(self, first_fence: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._first_fence, self._clock = first_fence, clock
        self._jobs: dict[str, Orphan] = {}

    def take(self, device: str, running: agent_pb2.RunningJob) -> Orphan | None:
        """Keep a job that a device has; None where that is no lease of an earlier host, or another device's."""
        if not 0 < running.fence < self._first_fence or running.job_id in self._jobs:
            return None
        orphan = Orphan(device, running.attempt, running.fence, self._clock())
        self._jobs[running.job_id] = orphan
        return orphan

    def claim(self, job_id: str) -> Orphan | None:
        """Give a job to whoever asks for it."""
        return self._jobs.pop(job_id, None)

    def answer(self, device: str, result: measurement_pb2.MeasureResult) -> bool:
        """Keep an answer that nobody has asked for yet; False when it is none."""
        orphan = self._jobs.get(result.job_id)
        if orphan is None or (orphan.device, orphan.fence) != (device, result.fence):
            return False
        orphan.result = result
        return True

    def forget(self) -> list[tuple[str, Orphan]]:
        """Drop those that were kept for long enough, and return them."""
        now = self._clock()
        old = [(job, orphan) for job, orphan in self._jobs.items() if now - orphan.since > ADOPT_WITHIN_S]
        for job_id, _ in old:
            del self._jobs[job_id]
        return old
