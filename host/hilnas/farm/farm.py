"""The farm: takes measurement jobs, gives them to devices, and answers for lost links and agents."""

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from hilnas.farm.accounts import Accounts
from hilnas.farm.answers import without_answer
from hilnas.farm.book import Book, MemoryBook
from hilnas.farm.devices import OFFLINE_AFTER_S, Device, DeviceFacts, Session
from hilnas.farm.here import Here
from hilnas.farm.jobs import MAX_ATTEMPTS, Answer, Ask, Fences, Job
from hilnas.farm.leases import Leases
from hilnas.farm.orphans import Orphan, Orphans
from hilnas.farm.registry import Registry
from hilnas.farm.scheduler import Free, Waiting, assign
from hilnas.farm.shares import NOBODY, Asker, Shares
from hilnas.farm.stranded import stranded
from hilnas.farm.wire import answer
from hilnas.store import ModelFiles, StoreError
from hilnas.trial import (
    DEVICE_FAULTS,
    DeviceEnergy,
    DeviceOutputs,
    Measurement,
    Verdict,
)
from hilnas_protos.v1 import agent_pb2, measurement_pb2

_log = logging.getLogger(__name__)

RETURN_WITHIN_S = 15.0
"""A job whose device lost its link waits so long for the device to come back with it."""
LATE_RESULT_S = 2.0
"""A device that came back without its job may still deliver the job's result within this time."""
UNCLAIMED = 1000
"""Answers kept that nobody waited for any more: whoever asks again need not measure again."""


class Farm:
    """Devices by name and jobs by id. All methods belong to one event loop.

    With `wait_s` None jobs wait for a device for ever, as in a lab.
    """

    def __init__(
        self,
        models: ModelFiles,
        wait_s: float | None = 60.0,
        examples: ModelFiles | None = None,
        book: Book | None = None,
        strict: bool = False,
        shares: Shares | None = None,
    ) -> None:
        self.models = models
        self.examples = [examples] if examples is not None else []
        self.wait_s = wait_s
        """A job is given up when no device of its class has been connected for so long, in seconds."""
        book = book or MemoryBook()
        self.registry = Registry(book, strict)
        self.registry.on_change = self._schedule
        self.jobs: dict[str, Job] = {}
        self._waiting: dict[str, Job] = {}
        self.accounts = Accounts(shares or Shares())
        self.counts: Counter[tuple[str, str]] = Counter()
        """What happened, by kind and detail: jobs by verdict, faults by device."""
        self._listeners: list[Callable[[], None]] = []
        self.here = Here()
        fences = Fences(book)
        self.leases = Leases(self.devices, self.accounts, fences, self._device_fault)
        self._orphans = Orphans(fences.first)
        self._unclaimed: OrderedDict[str, Job] = OrderedDict()
        self._watch: asyncio.Task[None] | None = None
        self._scheduled = False
        self._closed = False

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change of devices or jobs."""
        self._listeners.append(listener)

    @property
    def devices(self) -> dict[str, Device]:
        """The devices that have dialled in, by name."""
        return self.registry.devices

    def start(self) -> None:
        """Start watching for devices that went silent."""
        self._watch = asyncio.create_task(self._keep_watch())

    async def close(self, retry_after_ms: int = 0) -> None:
        """Send every agent away, for good or to come back after a while, and give up all jobs."""
        self._closed = True
        for device in self.devices.values():
            if device.session is not None:
                device.session.end("the host has finished", retry_after_ms)
        for job in self.jobs.values():
            job.stop_timers()
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch

    def connected(self) -> list[DeviceFacts]:
        """Return the devices that have a stream."""
        return self.registry.connected()

    def activity(self) -> dict[str, str]:
        """Return what each device is doing: the job's model, or its state."""
        return {
            name: f"measuring {job.ask.model_sha256[:8]}"
            if (job := self.jobs.get(device.job_id)) is not None
            else device.state.lower()
            for name, device in list(self.devices.items())  # another thread may draw this
        }

    async def measure(self, ask: Ask, asker: Asker = NOBODY) -> Measurement:
        """Return one session of a stored model on a device.

        Faults of devices and links are tried again, elsewhere if that may be; the last one comes back as a
        DEVICE_FAULT (or DEFERRED_HOT). Asking twice for the same thing measures it once, also when the first
        who asked is gone.
        """
        found = (await self.ask(ask, asker)).done.result()
        assert isinstance(found, Measurement)
        return found

    async def evaluate(self, ask: Ask, asker: Asker = NOBODY) -> DeviceOutputs:
        """Return what a stored model makes of stored examples on a device; faults as in `measure`."""
        found = (await self.ask(ask, asker)).done.result()
        assert isinstance(found, DeviceOutputs)
        return found

    async def measure_energy(self, ask: Ask, asker: Asker = NOBODY) -> DeviceEnergy:
        """Return what an energy pass of a stored model on a device came to; faults as in `measure`."""
        found = (await self.ask(ask, asker)).done.result()
        assert isinstance(found, DeviceEnergy)
        return found

    async def ask(self, ask: Ask, asker: Asker = NOBODY) -> Job:
        """Return the job that is asked for, done. FileNotFoundError when a file of it is not here."""
        job = self._unclaimed.pop(ask.job_id, None)
        if job is not None:
            return job
        job = self.jobs.get(ask.job_id) or self._new_job(ask, asker)
        job.askers += 1
        try:
            await asyncio.shield(job.done)
        finally:
            job.askers -= 1
            if not job.askers and not job.done.done() and not job.device:
                self._drop(job)  # nobody wants it, and no device has it
        return job

    def withdraw(self, search: str) -> None:
        """Drop all jobs of a search that is over; those that run are cancelled."""
        for job in [job for job in self.jobs.values() if job.asker.search == search and search]:
            device = self.devices.get(job.device)
            if device is not None:
                device.cancel(job.id)
            self.leases.end(job)
            self._drop(job)

    def find(self, digest: str) -> Path:
        """Return where a model or a file of examples lies; FileNotFoundError, or ValueError for no digest."""
        for files in (self.models, *self.examples):
            path = files.path(digest)
            if path.exists():
                return path
        raise FileNotFoundError(digest)

    def attach(
        self, facts: DeviceFacts, session: Session, running: Sequence[agent_pb2.RunningJob] = ()
    ) -> None:
        """Take a device's new stream, with the jobs that it still has."""
        device = self.registry.attach(facts, session)
        for each in running:
            if each.job_id != device.job_id:
                self._take_back(device, each)
        job = self.jobs.get(device.job_id)
        if job is not None and job.id not in {each.job_id for each in running}:
            why = f"{facts.name} came back without the job"
            self.leases.later(LATE_RESULT_S, job, lambda: self._went_down(job, why))
        self._schedule()

    def quarantine(self, name: str, reason: str) -> None:
        """Give a device no more jobs, where its class has another one that may go on; it is told otherwise too."""
        device = self.devices.get(name)
        if device is not None:
            self.registry.quarantine(device, reason)
            self._schedule()

    def started(self, name: str, job_id: str) -> None:
        """Note that the worker of a job has started."""
        device, job = self.devices[name], self.jobs.get(job_id)
        if device.job_id == job_id and job is not None:
            device.measuring = job.measuring = True
            self._changed()

    def detach(self, name: str, session: Session) -> None:
        """Note that a stream has ended. Its job may come back with the next one for a while."""
        device = self.devices.get(name)
        if device is None or device.session is not session:
            return
        self.registry.detach(device)
        job = self.jobs.get(device.job_id)
        if job is not None:
            why = f"the link to {name} was lost"
            self.leases.later(
                RETURN_WITHIN_S, job, lambda: None if device.session else self._device_fault(job, why)
            )
        self._changed()

    def accept(self, name: str, result: measurement_pb2.MeasureResult) -> None:
        """Take a result. One of an earlier lease, or of a job that has ended, is dropped."""
        device = self.devices[name]
        if self._orphans.answer(name, result):
            device.let_go(result.job_id)
            self._schedule()
            return
        job = self.jobs.get(result.job_id)
        if job is None or job.fence != result.fence or job.device != name:
            self.counts["results", "late"] += 1
            return
        device.busy_ms += result.total_ms
        self.accounts.ended(job, result.total_ms)
        job.result, job.facts = result, device.facts
        if (result.model_sha256, result.protocol_hash) != (job.ask.model_sha256, job.ask.protocol.hash):
            self._device_fault(job, f"{name} answered for another model or protocol")
            return
        value = answer(result, job.ask, device.facts, job.rules_known)
        if value.verdict is Verdict.DEFERRED_HOT:
            self._again(job, f"{name}: {value.message}", value)  # nobody's fault, and cooler elsewhere
        elif value.verdict in DEVICE_FAULTS:
            self._device_fault(job, f"{name}: {value.message}", value)
        elif value.verdict in (Verdict.CRASHED, Verdict.OUT_OF_MEMORY) and not job.crashed:
            # Somebody else may have killed the worker: a candidate is blamed by its second crash.
            job.crashed = True
            job.attempt = min(job.attempt, MAX_ATTEMPTS - 1)
            self._again(job, f"{name}: {value.message}", value)
        else:
            self.registry.worked(device)
            self._finish(job, value)

    def _new_job(self, ask: Ask, asker: Asker) -> Job:
        sizes = [self.find(digest).stat().st_size for digest in (ask.model_sha256, ask.examples) if digest]
        done = asyncio.get_running_loop().create_future()
        job = self.jobs[ask.job_id] = Job(
            ask.job_id, ask, sizes[0], done, sum(sizes[1:]), asker, asked_at=time.monotonic()
        )
        self._waiting[job.id] = job
        self.accounts.asked(job)
        orphan = self._orphans.claim(job.id)
        if orphan is not None:
            self._adopt(job, orphan)
        self._schedule()
        return job

    def _take_back(self, device: Device, running: agent_pb2.RunningJob) -> None:
        """Keep a job that a device has from before this host was started; have it dropped if it is another's."""
        job = self.jobs.get(running.job_id)
        free = not device.job_id and (job is None or not job.device)
        if not free or self._orphans.take(device.name, running) is None:
            device.cancel(running.job_id)
            return
        device.job_id = running.job_id
        if job is not None and (orphan := self._orphans.claim(job.id)) is not None:
            self._adopt(job, orphan)

    def _adopt(self, job: Job, orphan: Orphan) -> None:
        """Go on with a job that a device has, or has done, already."""
        self._waiting.pop(job.id, None)
        self.leases.adopt(job, orphan)
        self.counts["jobs", "adopted"] += 1
        if orphan.result is not None:
            asyncio.get_running_loop().call_soon(self.accept, orphan.device, orphan.result)
        else:
            self.leases.watch(job)

    def _finish(self, job: Job, value: Answer) -> None:
        self.leases.end(job)
        self._drop(job)
        self.counts["jobs", value.verdict.lower()] += 1
        if not job.done.done():
            job.done.set_result(value)
        if not job.askers:
            self._unclaimed[job.id] = job
            while len(self._unclaimed) > UNCLAIMED:
                self._unclaimed.popitem(last=False)
        self._schedule()

    def _drop(self, job: Job) -> None:
        """Take a job off the list; its asker may have others."""
        self._waiting.pop(job.id, None)
        if self.jobs.pop(job.id, None) is None:
            return
        job.stop_timers()
        self.accounts.dropped(job)

    def _went_down(self, job: Job, why: str) -> None:
        """Count a device that went down with a job. A candidate that fells two is to blame, and they are not."""
        self.devices[job.device].cancel(job.id)  # should it turn up there after all
        if job.measuring:
            job.felled[job.device] = why
        name = job.device
        self._fault_of(name, why)
        if len(job.felled) < 2:
            self._again(job, why)
            return
        reason = f"two devices went down while they ran it: {'; '.join(job.felled.values())}"
        self.registry.absolve(dict.fromkeys(job.felled, f"model {job.ask.model_sha256[:8]}: {reason}"))
        job.faults.append(why)
        job.given_up = True
        self._finish(job, without_answer(job.ask, name, Verdict.CRASHED, reason, job.attempt))

    def _device_fault(self, job: Job, reason: str, value: Answer | None = None) -> None:
        """Count a fault of a device or its link, and try elsewhere."""
        self._fault_of(job.device, reason)
        self._again(job, reason, value)

    def _fault_of(self, name: str, reason: str) -> None:
        self.counts["faults", name] += 1
        device = self.devices.get(name)
        if device is not None:
            self.registry.faulted(device, reason)

    def _again(self, job: Job, reason: str, value: Answer | None = None) -> None:
        """Free the job's device and try elsewhere, or give up."""
        failed = job.device
        self.leases.end(job)
        job.failed_on.add(failed)
        job.faults.append(reason)
        if job.attempt < MAX_ATTEMPTS:
            self._waiting[job.id] = job
            self._schedule()
            return
        why, job.given_up = "; ".join(job.faults), value is None
        self._finish(job, value or without_answer(job.ask, failed, Verdict.DEVICE_FAULT, why, job.attempt))

    def _schedule(self) -> None:
        """See soon who can have which device; many reasons at once are looked at together."""
        if not self._scheduled and not self._closed:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._assign)

    def _assign(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        waiting = [job.waiting(self.accounts.expected_s(job)) for job in self._waiting.values()]
        if waiting:
            ready, known = self._candidates(waiting)
            for job_id, name in assign(waiting, ready, known, self.accounts.shares):
                device = self.devices[name]
                # Here work is held still from now on, not from the worker's start: a device cools and settles before it.
                try:
                    self.leases.give(self.jobs[job_id], device, measuring=self.here.has(device))
                except StoreError as error:
                    _log.error("jobs wait, to be tried again in some seconds: %s", error)
                    break
                del self._waiting[job_id]
        self._changed()

    def _candidates(self, waiting: Sequence[Waiting]) -> tuple[list[Free], list[Free]]:
        """Return the devices of the classes that are waited for: those with nothing to do, and all that count.

        Busy ones count only for jobs that prefer or avoid one: with a thousand devices that is worth a look.
        """
        classes = {job.device_class for job in waiting}
        choosy = any(job.prefer or job.avoid for job in waiting)
        ready, known = [], []
        for device in self.devices.values():
            if device.facts.device_class not in classes or (device.job_id and not choosy):
                continue
            if (free := self.registry.free(device)) is not None:
                known.append(free)
                if not device.job_id:
                    ready.append(free)
        return ready, known

    def _changed(self) -> None:
        self.here.look(self.devices.values())
        for listener in self._listeners:
            listener()

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(OFFLINE_AFTER_S / 6)
            for device in list(self.devices.values()):
                session = device.session
                if session is not None and time.monotonic() - session.last_seen > OFFLINE_AFTER_S:
                    session.end("no sign of life", retry_after_ms=1000)
                    self.detach(device.name, session)
            self._forget_orphans()
            self._give_up_stranded()
            self._schedule()  # a reservation may have ended, a device may be suspect

    def _forget_orphans(self) -> None:
        for job_id, orphan in self._orphans.forget():
            device = self.devices[orphan.device]
            if device.job_id == job_id:
                device.let_go(job_id)
                device.cancel(job_id)

    def _give_up_stranded(self) -> None:
        """End jobs that no device has been there for, for too long."""
        if self.wait_s is None:
            return
        present = [free for device in self.devices.values() if (free := self.registry.free(device))]
        waiting = list(self._waiting.values())
        for job, reason in stranded(waiting, present, self.devices.values(), time.monotonic(), self.wait_s):
            job.attempt = MAX_ATTEMPTS
            self._again(job, reason)
