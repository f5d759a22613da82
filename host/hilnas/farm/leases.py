"""Leases: a job is one device's for a while, under a token of its own, and watched until it ends."""

import asyncio
import time
from collections.abc import Callable, Mapping

from hilnas.farm.accounts import Accounts
from hilnas.farm.devices import Device
from hilnas.farm.jobs import Fences, Job
from hilnas.farm.orphans import Orphan
from hilnas.farm.wire import measure_job
from hilnas_protos.v1 import agent_pb2

PROTOCOL_WITH_RULES = 2
"""Agents of this protocol version and newer check a session's rules."""
DEADLINE_SLACK_S = 60.0
"""Time for all but fetching files and execution, which has a deadline of its own, kept by the agent."""
SLOWEST_BYTES_PER_S = 32 * 1024
"""Files that come more slowly than this are given up, by the agent too."""


class Leases:
    """Gives jobs to devices and takes them back. Belongs to one event loop.

    `overdue` is told of a job whose device gave no answer in time, with the reason in words.
    """

    def __init__(
        self,
        devices: Mapping[str, Device],
        accounts: Accounts,
        fences: Fences,
        overdue: Callable[[Job, str], object],
    ) -> None:
        self._devices, self._accounts, self._fences, self._overdue = devices, accounts, fences, overdue
        self.on_given: Callable[[float], object] = lambda waited_s: None
        """Told how long a job that a device took had waited for one, in s."""

    def give(self, job: Job, device: Device, measuring: bool) -> None:
        """Begin a lease; `measuring` says that the device counts as measuring from now on.

        StoreError when no token can be had, which are kept before they are given; nothing has changed then.
        """
        assert device.session is not None
        job.fence = self._fences.next()
        job.attempt += 1
        job.device, job.given_at = device.name, time.monotonic()
        self._accounts.given(job)
        device.job_id, device.last_search, device.measuring = job.id, job.asker.search, measuring
        job.rules_known = device.session.protocol >= PROTOCOL_WITH_RULES
        message = measure_job(job.ask, job.id, job.attempt, job.fence, job.size, job.examples_size)
        device.session.send(agent_pb2.ConnectResponse(measure_job=message))
        self.on_given(job.given_at - job.asked_at)
        self.watch(job)

    def adopt(self, job: Job, orphan: Orphan) -> None:
        """Take over a lease that an earlier host gave; what it was counted as is not known."""
        job.device, job.fence, job.attempt = orphan.device, orphan.fence, orphan.attempt
        job.given_at = time.monotonic()
        session = self._devices[orphan.device].session
        job.rules_known = session is None or session.protocol >= PROTOCOL_WITH_RULES

    def end(self, job: Job) -> None:
        """End a job's lease, if it has one."""
        job.stop_timers()
        device = self._devices.get(job.device)
        if device is not None:
            device.let_go(job.id)
        self._accounts.ended(job)
        job.device, job.fence, job.measuring = "", 0, False
        job.asked_at = time.monotonic()

    def watch(self, job: Job) -> None:
        """See that a lease ends, even if its device does not: the time to fetch its files is no part of a deadline."""
        fetching_s = (job.size + job.examples_size) / SLOWEST_BYTES_PER_S
        cooling_s = job.ask.options.preflight.max_cooldown_ms / 1000
        limit_s = job.ask.deadline_s + cooling_s + fetching_s + DEADLINE_SLACK_S

        def overdue() -> None:
            self._devices[job.device].cancel(job.id)
            self._overdue(job, f"{job.device} gave no answer within {limit_s:.0f} s")

        self.later(limit_s, job, overdue)

    def later(self, delay_s: float, job: Job, act: Callable[[], object]) -> None:
        """Act after a while, unless the job's lease has ended by then."""
        fence = job.fence

        def due() -> None:
            if job.fence == fence:
                act()

        job.timers.append(asyncio.get_running_loop().call_later(delay_s, due))
