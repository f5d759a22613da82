"""Meters with a known truth, named by dotted path: what they say follows the clock, or real processor time."""

import os
import time
from pathlib import Path

from hilnas_agent.meters import COUNTER, POWER, MeterError, Reading, Traits

IDLE_W, PER_CPU_W = 1.0, 2.0
RATE_HZ = 40.0
"""Slow enough for a reading that a busy machine delays to be no gap."""


class _Meter:
    def __init__(self, traits):
        self.traits = traits

    def problem(self):
        return None

    def open(self):
        pass

    def close(self):
        pass


class _Worker(_Meter):
    """Counts 1 W, and 2 J for each second of processor time of the process that records; wraps at 5 J."""

    def open(self):
        self.stat, self.parent = Path(f"/proc/{os.getppid()}/schedstat"), os.getppid()
        self.begin_ns = time.monotonic_ns()

    def read(self):
        before = time.monotonic_ns()
        busy_ns = sum(
            int(task.read_text().split()[0]) for task in Path(f"/proc/{self.parent}/task").glob("*/schedstat")
        )
        now = time.monotonic_ns()
        joules = IDLE_W * (now - self.begin_ns) * 1e-9 + PER_CPU_W * busy_ns * 1e-9
        return [Reading((before + now) // 2, joules % self.traits.wraps_at_j, (now - before) // 2)]


class _Steady(_Meter):
    """Always 1 W: nothing that a model does shows."""

    def read(self):
        return [Reading(time.monotonic_ns(), 1.0)]


class _Charging(_Meter):
    def read(self):
        raise MeterError("the battery is charging: unplug it")


class _NoNumber(_Steady):
    def read(self):
        return [*super().read(), Reading(time.monotonic_ns(), float("nan"))]


class _Hangs(_Meter):
    def read(self):
        time.sleep(3600)


class _Dies(_Meter):
    def read(self):
        os._exit(1)


class _Prints(_Steady):
    def read(self):
        print("a library says hello", flush=True)
        return super().read()


class _NotThere(_Meter):
    def open(self):
        raise MeterError("worker:gone: no such instrument: plug it in")


class _Driver:
    def __init__(self, *meters):
        self.meters = meters

    def find(self, argument, root):
        return self.meters


def _counter(name, **changes):
    return Traits(**({"name": name, "boundary": "soc", "kind": COUNTER, "rate_hz": RATE_HZ} | changes))


def _power(name, **changes):
    return Traits(**({"name": name, "boundary": "board", "kind": POWER, "rate_hz": RATE_HZ} | changes))


class Simulated(_Driver):
    """All of them."""

    name = "simulated"

    def __init__(self):
        super().__init__(
            _Worker(_counter("simulated:worker", wraps_at_j=5.0)),
            _Steady(_power("simulated:steady", resolution=1e-3)),
            _Charging(_power("simulated:charging")),
            _Dies(_power("simulated:dies")),
            _NoNumber(_power("simulated:nan")),
            _Hangs(_power("simulated:hangs")),
            _Prints(_power("simulated:prints")),
            _NotThere(_power("simulated:gone")),
            _Steady(_power("simulated:plug", canary_only=True, coarse=True)),
        )
