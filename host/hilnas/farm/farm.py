"""The farm: takes measurement jobs, gives them to devices, and answers for lost links and agents."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hilnas.errors import HilnasError
from hilnas.farm.devices import Device, DeviceFacts, DeviceState, Session
from hilnas.farm.jobs import MAX_ATTEMPTS, Answer, Ask, Fences, Job
from hilnas.farm.scheduler import Free, Waiting, assign
from hilnas.farm.wire import answer, measure_job
from hilnas.store import ModelFiles
from hilnas.trial import (
    DEVICE_FAULTS,
    DeviceEnergy,
    DeviceOutputs,
    Energy,
    EnergyVerdict,
    Measurement,
    Verdict,
)
from hilnas_protos.v1 import agent_pb2, measurement_pb2

OFFLINE_AFTER_S = 30.0
"""A device that gave no sign of life for so long is taken off."""
RETURN_WITHIN_S = 15.0
"""A job whose device lost its link waits so long for the device to come back with it."""
LATE_RESULT_S = 2.0
"""A device that came back without its job may still deliver the job's result within this time."""
PROTOCOL_WITH_RULES = 2
"""Agents of this protocol version and newer check a session's rules."""
DEADLINE_SLACK_S = 60.0
"""Time for fetching a model, beyond the deadline of its execution."""


_WORKING = (DeviceState.READY, DeviceState.LEASED)


class FarmError(HilnasError, RuntimeError):
    """The farm cannot do what is asked; the message says what is missing."""


class Farm:
    """Devices by name and jobs by id. All methods belong to one event loop."""

    def __init__(self, models: ModelFiles, wait_s: float = 60.0, examples: ModelFiles | None = None) -> None:
        self.models = models
        self.examples = [examples] if examples is not None else []
        self.wait_s = wait_s
        """A job is given up when no device of its class has been connected for so long, in seconds."""
        self.devices: dict[str, Device] = {}
        self.jobs: dict[str, Job] = {}
        self.on_change: Callable[[], None] = lambda: None
        self.on_measuring_here: Callable[[bool], None] = lambda measuring: None
        """Told when a device on this very machine begins to measure, and when none does any more."""
        self._measuring_here = False
        self._boot_id = _boot_id()
        self._fences = Fences()
        self._arrived = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start watching for devices that went silent."""
        self._watch = asyncio.create_task(self._drop_silent())

    async def close(self) -> None:
        """Send every agent away and give up all jobs."""
        for device in self.devices.values():
            if device.session is not None:
                device.session.end("the host has finished")
        for task in [*self._tasks, *([self._watch] if self._watch else [])]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

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
        return [d.facts for d in self.devices.values() if d.state is not DeviceState.OFFLINE]

    def activity(self) -> dict[str, str]:
        """Return what each device is doing: the job's model, or its state."""
        return {
            name: f"measuring {job.ask.model_sha256[:8]}"
            if (job := self.jobs.get(device.job_id)) is not None
            else device.state.lower()
            for name, device in list(self.devices.items())  # another thread may draw this
        }

    async def measure(self, ask: Ask) -> Measurement:
        """Return one session of a stored model on a device.

        Faults of devices and links are tried again, elsewhere if that may be; the last one comes back as a
        DEVICE_FAULT (or DEFERRED_HOT). Asking twice at once for the same thing measures it once.
        """
        found = await self._ask(ask)
        assert isinstance(found, Measurement)
        return found

    async def evaluate(self, ask: Ask) -> DeviceOutputs:
        """Return what a stored model makes of stored examples on a device; faults as in `measure`."""
        found = await self._ask(ask)
        assert isinstance(found, DeviceOutputs)
        return found

    async def measure_energy(self, ask: Ask) -> DeviceEnergy:
        """Return what an energy pass of a stored model on a device came to; faults as in `measure`."""
        found = await self._ask(ask)
        assert isinstance(found, DeviceEnergy)
        return found

    async def _ask(self, ask: Ask) -> Answer:
        job = self.jobs.get(ask.job_id)
        if job is None:
            sizes = [
                self.find(digest).stat().st_size for digest in (ask.model_sha256, ask.examples) if digest
            ]
            done = asyncio.get_running_loop().create_future()
            job = self.jobs[ask.job_id] = Job(ask.job_id, ask, sizes[0], done, sum(sizes[1:]))
            self._schedule()
        return await asyncio.shield(job.done)

    def find(self, digest: str) -> Path:
        """Return where a model or a file of examples lies; FileNotFoundError, or ValueError for no digest."""
        for files in (self.models, *self.examples):
            path = files.path(digest)
            if path.exists():
                return path
        raise FileNotFoundError(digest)

    def attach(self, facts: DeviceFacts, session: Session, running: list[str]) -> None:
        """Take a device's new stream; an older one of the same device is ended."""
        device = self.devices.setdefault(facts.name, Device(facts))
        if device.session is not None:
            device.session.end("a newer connection of this device took over")
        device.facts, device.session = facts, session
        for stale in set(running) - {device.job_id}:
            session.send(agent_pb2.ConnectResponse(cancel_job=agent_pb2.CancelJob(job_id=stale)))
        job = self.jobs.get(device.job_id)
        if job is not None and job.id not in running:
            self._later(LATE_RESULT_S, job, job.fence, f"{facts.name} came back without the job")
        self._arrived.set()
        self._schedule()

    def quarantine(self, name: str, reason: str) -> None:
        """Give a device no more jobs, where its class has another one that may go on; it is told otherwise too."""
        device = self.devices[name]
        device.doubt = reason
        others = (
            other
            for other in self.devices.values()
            if other.facts.device_class == device.facts.device_class and other.state in _WORKING
        )
        device.quarantined = any(other is not device for other in others)
        self._changed()

    def started(self, name: str, job_id: str) -> None:
        """Note that the worker of a job has started."""
        device = self.devices[name]
        if device.job_id == job_id:
            device.measuring = True
            self._changed()

    def detach(self, name: str, session: Session) -> None:
        """Note that a stream has ended. Its job may come back with the next one for a while."""
        device = self.devices.get(name)
        if device is None or device.session is not session:
            return
        device.session = None
        device.measuring = False
        job = self.jobs.get(device.job_id)
        if job is not None:
            self._later(RETURN_WITHIN_S, job, job.fence, f"the link to {name} was lost", unless_back=True)
        self._changed()

    def accept(self, name: str, result: measurement_pb2.MeasureResult) -> None:
        """Take a result. One of an earlier lease, or of a job that has ended, is dropped."""
        device = self.devices[name]
        job = self.jobs.get(result.job_id)
        if job is None or job.fence != result.fence or job.device != name:
            return
        device.job_id, device.measuring = "", False
        device.busy_ms += result.total_ms
        if (result.model_sha256, result.protocol_hash) != (job.ask.model_sha256, job.ask.protocol.hash):
            self._fault(job, f"{name} answered for another model or protocol")
            return
        value = answer(result, job.ask, device.facts, job.rules_known)
        if value.verdict in DEVICE_FAULTS:
            self._fault(job, f"{name}: {value.message}", value)
        elif value.verdict in (Verdict.CRASHED, Verdict.OUT_OF_MEMORY) and not job.crashed:
            # Somebody else may have killed the worker: a candidate is blamed by its second crash.
            job.crashed = True
            job.attempt = min(job.attempt, MAX_ATTEMPTS - 1)
            self._fault(job, f"{name}: {value.message}", value)
        else:
            self._finish(job, value)

    def _finish(self, job: Job, value: Answer) -> None:
        del self.jobs[job.id]
        if not job.done.done():
            job.done.set_result(value)
        self._schedule()

    def _fault(self, job: Job, reason: str, value: Answer | None = None) -> None:
        """Free the job's device and try elsewhere, or give up."""
        device = self.devices.get(job.device)
        if device is not None and device.job_id == job.id:
            device.job_id, device.measuring = "", False
        job.failed_on.add(job.device)
        job.faults.append(reason)
        failed, job.device, job.fence = job.device, "", 0
        if job.attempt < MAX_ATTEMPTS:
            self._schedule()
            return
        self._finish(job, value or _given_up(job, failed))

    def _schedule(self) -> None:
        waiting = [job.waiting for job in self.jobs.values() if not job.device]
        known = [
            (Free(name, device.facts.device_class), device.state)
            for name, device in self.devices.items()
            if device.state in _WORKING
        ]
        free = [device for device, state in known if state is DeviceState.READY]
        for job_id, name in assign(waiting, free, [device for device, _ in known]):
            self._give(self.jobs[job_id], self.devices[name])
        self._changed()

    def _changed(self) -> None:
        here = any(
            device.measuring and device.session is not None and device.session.boot_id == self._boot_id
            for device in self.devices.values()
        )
        if here != self._measuring_here:
            self._measuring_here = here
            self.on_measuring_here(here)
        self.on_change()

    def _give(self, job: Job, device: Device) -> None:
        assert device.session is not None
        job.attempt += 1
        job.fence = self._fences.next()
        job.device = device.facts.name
        device.job_id = job.id
        # Here work is held still from now on, not from the worker's start: a device cools and settles before it.
        device.measuring = device.session.boot_id == self._boot_id
        job.rules_known = device.session.protocol >= PROTOCOL_WITH_RULES
        message = measure_job(job.ask, job.id, job.attempt, job.fence, job.size, job.examples_size)
        device.session.send(agent_pb2.ConnectResponse(measure_job=message))
        options = job.ask.options
        limit = job.ask.deadline_s + options.preflight.max_cooldown_ms / 1000 + DEADLINE_SLACK_S
        self._later(limit, job, job.fence, f"{job.device} gave no answer within {limit:.0f} s")

    def _later(self, delay_s: float, job: Job, fence: int, reason: str, unless_back: bool = False) -> None:
        """Count a fault after a while, unless the job has moved on, or its device has come back."""

        async def wait() -> None:
            await asyncio.sleep(delay_s)
            current = self.jobs.get(job.id)
            if current is not job or job.fence != fence:
                return
            device = self.devices[job.device]
            if device.session is not None:
                if unless_back:
                    return  # attach() looks after the job now
                cancel = agent_pb2.CancelJob(job_id=job.id)
                device.session.send(agent_pb2.ConnectResponse(cancel_job=cancel))
            self._fault(job, reason)

        task = asyncio.create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drop_silent(self) -> None:
        while True:
            await asyncio.sleep(OFFLINE_AFTER_S / 6)
            for name, device in self.devices.items():
                session = device.session
                if session is not None and time.monotonic() - session.last_seen > OFFLINE_AFTER_S:
                    session.end("no sign of life", retry_after_ms=1000)
                    self.detach(name, session)
            self._give_up_stranded()

    def _give_up_stranded(self) -> None:
        """End jobs that no device has been there for, for too long."""
        working = [device.facts for device in self.devices.values() if device.state in _WORKING]
        present = [Free(facts.name, facts.device_class) for facts in working]
        now = time.monotonic()
        for job in [job for job in self.jobs.values() if not job.device]:
            if any(job.waiting.may_run_on(device) for device in present):
                job.stranded_since = None
            elif job.stranded_since is None:
                job.stranded_since = now
            elif now - job.stranded_since > self.wait_s:
                job.attempt = MAX_ATTEMPTS
                away = [
                    f"{device.facts.name} is put away: {device.doubt}"
                    for device in self.devices.values()
                    if device.state is DeviceState.QUARANTINED
                    and job.waiting.may_run_on(Free(device.facts.name, device.facts.device_class))
                ]
                reason = f"no {_wanted(job.waiting)} for {self.wait_s:.0f} s"
                self._fault(job, "; ".join([reason, *away]))


def _given_up(job: Job, device: str) -> Answer:
    ask, why = job.ask, "; ".join(job.faults)
    if ask.examples:
        return DeviceOutputs(
            device, ask.device_class, ask.model_sha256, ask.examples, ask.options.runtime_asked,
            Verdict.DEVICE_FAULT, why, attempt=job.attempt,
        )  # fmt: skip
    if ask.energy:
        return DeviceEnergy(device, Verdict.DEVICE_FAULT, Energy(EnergyVerdict.UNAVAILABLE, why), (), why)
    return Measurement(
        device=device,
        device_class=ask.device_class,
        model_sha256=ask.model_sha256,
        protocol_hash=ask.protocol.hash,
        runtime=ask.options.runtime_asked,
        verdict=Verdict.DEVICE_FAULT,
        message=why,
        fidelity=ask.fidelity,
        attempt=job.attempt,
    )


def _wanted(job: Waiting) -> str:
    return f"device {job.device}" if job.device else f"device of class {job.device_class}"


def _boot_id() -> str:
    """Return this machine's boot id: an agent with the same one shares its processors with the host."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
