"""Joulescope JS110 and JS220, through pyjoulescope-driver (extra `joulescope`): the energy that they add up.

The instrument's statistics hold the energy since the start, in J, and the count of the samples they end at. Source:
the library's own `pyjoulescope_driver statistics`.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import Any

from hilnas_agent.meters import COUNTER, Meter, MeterError, Reading, Traits

_RATES_HZ = {"js220": 50.0, "js110": 2.0}
_SAMPLES_HZ = 1_000_000
_WITHIN_NS = 5_000_000
"""Time that a message spends on USB, at most, beside that of the quickest."""
_DRIFT = 100e-6


class Joulescope:
    """The driver: "joulescope=js220" or "joulescope=u/js220/000123", as the library names it; never sought."""

    name = "joulescope"

    def find(self, argument: str, root: Path) -> Sequence[Meter]:
        """The instrument of that kind or name."""
        if not argument:
            return []
        kind = next((kind for kind in _RATES_HZ if kind in argument.lower()), None)
        if kind is None:
            raise MeterError(f"joulescope={argument}: give js220, js110, or the name of one: u/js220/000123")
        return [Scope(argument.lower(), kind)]


class Scope:
    """One instrument in a board's supply."""

    def __init__(self, wanted: str, kind: str) -> None:
        self._wanted, self._kind = wanted, kind
        self.traits = Traits(f"joulescope:{kind}", "board", COUNTER, _RATES_HZ[kind])
        self._driver: Any = None
        self._path = ""
        self._statistics = Statistics()

    def problem(self) -> str | None:
        """Why it cannot be read: its library is missing. Does not look for the instrument."""
        if util.find_spec("pyjoulescope_driver") is None:
            return "joulescope: its library is not installed: pip install 'hilnas[joulescope]'"
        return None

    def open(self) -> None:
        """Opens the instrument and has it send statistics."""
        from pyjoulescope_driver import Driver

        self._driver = Driver()
        found = [path for path in self._driver.device_paths() if self._wanted in path.lower()]
        if not found:
            raise MeterError(f"joulescope: there is no {self._wanted}: attach it, and see its udev rule")
        self._path = found[0]
        self._driver.open(self._path)
        if self._kind == "js220":
            self._driver.publish(f"{self._path}/s/i/range/mode", "auto")
            self._driver.publish(f"{self._path}/s/stats/scnt", round(_SAMPLES_HZ / self.traits.rate_hz))
            self._driver.publish(f"{self._path}/s/stats/ctrl", 1)
            topic = f"{self._path}/s/stats/value"
        else:
            self._driver.publish(f"{self._path}/s/i/range/select", "auto")
            topic = f"{self._path}/s/sstats/value"
        self._driver.subscribe(topic, "pub", self._statistics.add)

    def read(self) -> Sequence[Reading]:
        """The statistics that have come since the last call."""
        return self._statistics.take()

    def close(self) -> None:
        """Closes the instrument and ends the library's threads."""
        if self._driver is not None:
            if self._path:
                self._driver.close(self._path)
            self._driver.finalize()
            self._driver = None


class Statistics:
    """Messages of the library to readings; `add` is called on the library's own thread."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque(maxlen=1 << 16)
        self._lock = threading.Lock()
        self._begin_ns: float | None = None
        self._last_ns = 0.0

    def add(self, topic: str, value: Any) -> None:
        """Takes a message: the energy at its end, dated by the instrument's count of samples."""
        now_ns = time.monotonic_ns()
        _, end = value["time"]["samples"]["value"]
        theirs_ns = end / value["time"]["sample_freq"]["value"] * 1e9
        joules = float(value["accumulators"]["energy"]["value"])
        if not math.isfinite(joules):
            # An overload: it adds nothing, and is a gap.
            return
        with self._lock:
            begin_ns = now_ns - theirs_ns
            if self._begin_ns is None or theirs_ns < self._last_ns:
                self._begin_ns = begin_ns
            else:
                slack_ns = (theirs_ns - self._last_ns) * _DRIFT
                self._begin_ns = min(begin_ns, self._begin_ns + slack_ns)
            self._last_ns = theirs_ns
            self._readings.append(Reading(round(self._begin_ns + theirs_ns), joules, _WITHIN_NS))

    def take(self) -> list[Reading]:
        """The readings since the last call."""
        with self._lock:
            readings = list(self._readings)
            self._readings.clear()
        return readings
