"""Jobs that wait for a device that is not there."""

from collections.abc import Collection, Iterable, Iterator

from hilnas.farm.devices import Device, DeviceState
from hilnas.farm.jobs import Job
from hilnas.farm.scheduler import Free, Waiting


def stranded(
    jobs: Iterable[Job], present: Collection[Free], devices: Collection[Device], now: float, wait_s: float
) -> Iterator[tuple[Job, str]]:
    """Yield jobs that no device has been there for, for longer than `wait_s`, with the reason in words.

    `present` are the devices that take jobs, `devices` all; `now` is the monotonic clock's. Notes in each job since
    when it is stranded.
    """
    for job in jobs:
        waiting = job.waiting(0.0)
        if any(waiting.may_run_on(device) for device in present):
            job.stranded_since = None
        elif job.stranded_since is None:
            job.stranded_since = now
        elif now - job.stranded_since > wait_s:
            away = [
                f"{device.name} is put away: {device.doubt}"
                for device in devices
                if device.state is DeviceState.QUARANTINED
                and waiting.may_run_on(Free(device.name, device.facts.device_class))
            ]
            yield job, "; ".join([f"no {_wanted(waiting)} for {wait_s:.0f} s", *away])


def _wanted(job: Waiting) -> str:
    return f"device {job.device}" if job.device else f"device of class {job.device_class}"
