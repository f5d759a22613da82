"""Counts the device time of jobs: what they are expected to take while they run, what they took afterwards."""

import time
from collections import Counter

from hilnas.farm.jobs import Job
from hilnas.farm.scheduler import USUAL_S
from hilnas.farm.shares import Asker, Shares

_NEW = 0.2


class Accounts:
    """Device time of askers, and what jobs of a kind have taken lately: an exponential mean, in s."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self._asking: Counter[Asker] = Counter()
        self._mean: dict[tuple[str, ...], float] = {}

    def expected_s(self, job: Job) -> float:
        """Return the device time that a job is expected to take."""
        return self._mean.get(job.kind, USUAL_S)

    def asked(self, job: Job) -> None:
        """Note that a job waits."""
        self._asking[job.asker] += 1
        self.shares.begin(job.asker)

    def given(self, job: Job) -> None:
        """Count what a lease is expected to take, from its beginning on."""
        job.charged_s = self.expected_s(job)
        self.shares.charge(job.asker, job.charged_s)

    def ended(self, job: Job, device_ms: float | None = None) -> None:
        """Count what a lease has really taken: what the device said, or the time that has passed."""
        if not job.charged_s:
            return
        seconds = time.monotonic() - job.given_at if device_ms is None else device_ms / 1000
        self.shares.charge(job.asker, seconds - job.charged_s)
        job.charged_s = 0.0
        if device_ms is not None:
            before = self._mean.get(job.kind, seconds)
            self._mean[job.kind] = before + _NEW * (seconds - before)

    def dropped(self, job: Job) -> None:
        """Note that a job is no more; an asker without any asks for nothing."""
        self._asking[job.asker] -= 1
        if not self._asking[job.asker]:
            del self._asking[job.asker]
            self.shares.end(job.asker)
