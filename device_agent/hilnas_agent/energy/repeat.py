"""One idle, busy and idle again: what a meter's readings say of it."""

from dataclasses import dataclass

from hilnas_agent.energy.trace import Trace

_NS = 1e-9
_SETTLING = 0.1
"""Share of an idle stretch that a board needs to come to rest, and does not count."""
_LEAST_IDLE = 0.5
"""Share of an idle stretch that the readings must cover."""
MOST_UNSEEN = 0.05
"""Share of a window that may be without readings."""
MOST_CLOCK = 0.01
"""Share of the busy stretch by which its borders may be off."""


@dataclass(frozen=True)
class Times:
    """When a repeat's stretches began and ended, on the clock of `time.monotonic_ns`, and its inferences."""

    idle_from_ns: int
    busy_from_ns: int
    busy_to_ns: int
    idle_to_ns: int
    runs: int


@dataclass(frozen=True)
class Repeat:
    """A repeat's figures; powers in W. `problem` says why it does not count at all, empty when it does."""

    runs: int
    busy_s: float
    idle_s: float
    busy_w: float = 0.0
    before_w: float = 0.0
    after_w: float = 0.0
    noise_w: float = 0.0
    """Standard error of the power beyond idle, by the scatter inside the stretches."""
    within_s: float = 0.0
    rate_hz: float = 0.0
    unseen: float = 0.0
    problem: str = ""

    @property
    def idle_w(self) -> float:
        """Mean idle power."""
        return (self.before_w + self.after_w) / 2

    @property
    def net_w(self) -> float:
        """Power beyond idle."""
        return self.busy_w - self.idle_w

    @property
    def net_j(self) -> float:
        """Energy of one inference beyond idle."""
        return self.net_w * self.busy_s / self.runs

    @property
    def gross_j(self) -> float:
        """Energy of one inference, idle included."""
        return self.busy_w * self.busy_s / self.runs

    @property
    def idle_change(self) -> float:
        """Difference of the two idle powers, as a share of their mean."""
        change, mean = abs(self.after_w - self.before_w), abs(self.idle_w)
        return change / mean if mean > 0 else float(change > 0)


def look(trace: Trace, times: Times, min_readings: int, problem: str = "") -> Repeat:
    """A repeat by its trace; `problem` is what the meter complained of meanwhile."""
    busy_s = (times.busy_to_ns - times.busy_from_ns) * _NS
    before_ns, after_ns = times.busy_from_ns - times.idle_from_ns, times.idle_to_ns - times.busy_to_ns
    idle_s = (before_ns + after_ns) / 2 * _NS
    if problem or len(trace) < 2:
        words = problem or "the meter gave no readings"
        return Repeat(times.runs, busy_s, idle_s, unseen=1.0, problem=words)
    first = max(times.idle_from_ns + round(_SETTLING * before_ns), int(trace.clock_ns[0]))
    begin, end = times.busy_from_ns, times.busy_to_ns
    rest, last = end + round(_SETTLING * after_ns), min(times.idle_to_ns, int(trace.clock_ns[-1]))
    if begin - first < _LEAST_IDLE * before_ns or last - rest < _LEAST_IDLE * after_ns:
        return Repeat(
            times.runs, busy_s, idle_s, unseen=1.0, problem="the meter gave too few readings while idle"
        )
    windows = ((first, begin), (begin, end), (rest, last))
    unseen = max(trace.unseen(*window) for window in windows)
    before_w, busy_w, after_w = (trace.watts(*window) for window in windows)
    before_n, busy_n, after_n = (trace.noise_w(*window) for window in windows)
    readings, within_s = trace.count(begin, end), trace.within_ns * _NS
    words = ""
    if readings < min_readings:
        words = f"{readings} readings in the busy stretch, at least {min_readings} are needed"
    elif unseen > MOST_UNSEEN:
        words = f"the meter said nothing in {unseen:.0%} of a stretch, at most {MOST_UNSEEN:.0%} allowed"
    elif within_s > MOST_CLOCK * busy_s:
        words = (
            f"readings are dated to within {within_s * 1e3:.0f} ms alone, of {busy_s:.1f} s: lengthen busy_ms"
        )
    return Repeat(
        runs=times.runs,
        busy_s=busy_s,
        idle_s=idle_s,
        busy_w=busy_w,
        before_w=before_w,
        after_w=after_w,
        noise_w=(busy_n**2 + before_n**2 / 4 + after_n**2 / 4) ** 0.5,
        within_s=within_s,
        rate_hz=trace.rate_hz,
        unseen=unseen,
        problem=words,
    )
