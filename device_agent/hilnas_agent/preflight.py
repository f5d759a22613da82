"""What is looked at before a session: each check, what would spoil a figure, and what to do about it."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from hilnas_agent import conditions, cores
from hilnas_agent.conditions import ROOT, THROTTLED_NOW, Reading, bit_names
from hilnas_agent.evidence import Evidence, at_most
from hilnas_agent.settings import Preflight

_POLL_S = 0.5
_MEMORY_S = 3600.0
_APART_S = 10.0


class IdleTemperature:
    """The lowest temperature of the last hour: what the device is at when it does nothing, in °C."""

    def __init__(self, root: Path = ROOT, clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self._seen: deque[tuple[float, float]] = deque()
        self.look()

    def look(self) -> float | None:
        """Takes a reading and returns it; None without a sensor."""
        now, degrees = self._clock(), conditions.hottest_c(self._root)
        if degrees is None:
            return None
        lowest = self.lowest_c()
        if lowest is None or degrees < lowest or now - self._seen[-1][0] >= _APART_S:
            self._seen.append((now, degrees))
        while self._seen[0][0] < now - _MEMORY_S and len(self._seen) > 1:
            self._seen.popleft()
        return degrees

    def lowest_c(self) -> float | None:
        """The lowest reading of the last hour; None without a sensor."""
        return min((degrees for _, degrees in self._seen), default=None)


def cool_down(
    idle: IdleTemperature, limits: Preflight, wait: Callable[[float], object]
) -> tuple[Evidence, float]:
    """Waits until the device is cool, as long as the limits allow: how it went, and how long it took, in ms.

    `wait` sleeps for so many seconds, and returns something true when the job is no longer wanted.
    """
    began = time.monotonic()
    while True:
        now, lowest = idle.look(), idle.lowest_c()
        above = None if now is None or lowest is None else now - lowest
        waited_ms = (time.monotonic() - began) * 1000
        if above is None or above <= limits.max_above_idle_c or waited_ms >= limits.max_cooldown_ms:
            break
        if wait(_POLL_S):
            break
    text = (
        f"{now:.1f} °C, {above:.1f} °C above the idle device, after {waited_ms / 1000:.0f} s of waiting"
        if above is not None
        else ""
    )
    evidence = at_most(
        "idle-temperature",
        above,
        limits.max_above_idle_c,
        text,
        "cool the board better, or raise max_cooldown_ms",
        "there is no temperature sensor",
    )
    return evidence, waited_ms


def checks(
    limits: Preflight, reading: Reading, cpus: Sequence[int], threads: int, root: Path = ROOT
) -> list[Evidence]:
    """Everything but the temperature: governor, throttling, pressure, processors."""
    return [
        _governor(reading),
        _throttling(reading),
        _pressure(reading, limits),
        _processors(cpus, threads, root),
    ]


def _governor(reading: Reading) -> Evidence:
    if not reading.governor:
        return Evidence("governor", True, "not checked: the kernel tells no governor")
    fixed = reading.target_khz is not None and reading.target_khz == reading.least_khz
    if reading.governor == "performance" or fixed:
        return Evidence(
            "governor", True, f"the governor is {reading.governor}" + (", fixed" if fixed else "")
        )
    return Evidence(
        "governor",
        False,
        f"the governor is {reading.governor}, so the frequency follows the load: as root, "
        "echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    )


def _throttling(reading: Reading) -> Evidence:
    if reading.throttle_bits is None:
        return Evidence("throttled", True, "not checked: the firmware does not tell of throttling")
    now = reading.throttle_bits & THROTTLED_NOW
    if not now:
        return Evidence("throttled", True, "the firmware does not throttle now", 0.0)
    remedy = "use a stronger power supply and a shorter cable" if now & 1 else "cool the board"
    return Evidence(
        "throttled", False, f"the firmware reports {' and '.join(bit_names(now))}: {remedy}", float(now)
    )


def _pressure(reading: Reading, limits: Preflight) -> Evidence:
    share = reading.cpu_pressure
    return at_most(
        "pressure",
        share,
        limits.max_pressure,
        f"tasks waited for a processor in {share or 0:.1%} of the last ten seconds",
        "end other work on the device",
        "the kernel tells no pressure (CONFIG_PSI)",
    )


def _processors(cpus: Sequence[int], threads: int, root: Path) -> Evidence:
    if threads > len(cpus):
        return Evidence(
            "processors",
            False,
            f"{threads} threads share {len(cpus)} processors: ask for fewer threads, or give more with --cpus",
            float(threads),
            float(len(cpus)),
        )
    groups = cores.clusters(cpus, root)
    if len(groups) > 1:
        names = " and ".join(",".join(map(str, group)) for group in groups)
        return Evidence(
            "processors", False, f"processors of different kinds measure ({names}): give one kind with --cpus"
        )
    return Evidence("processors", True, f"{threads} of processors {','.join(map(str, cpus))} measure")
