"""A device whose power is known at every moment, in virtual time, and instruments that look at it."""

from dataclasses import dataclass, field

import numpy as np

from hilnas_agent.energy.passes import Clock, Pass
from hilnas_agent.meters import COUNTER, Reading, Traits


@dataclass
class World:
    """Idle power that drifts and wanders, and `busy_w` on top of it while the model runs."""

    rng: np.random.Generator
    idle_w: float = 2.0
    busy_w: float = 1.5
    inference_s: float = 0.02
    drift_w_s: float = 0.0
    wander_w: float = 0.0
    wander_s: float = 60.0
    unsteady: float = 0.0
    """Standard deviation of the busy power from stretch to stretch, as a share."""
    now_s: float = 1000.0
    busy: list[list[float]] = field(default_factory=list)

    def __post_init__(self):
        self.start_s = self.now_s
        self.phase = self.rng.uniform(0, 2 * np.pi)

    @property
    def net_j(self):
        """The truth: energy of an inference beyond idle."""
        return self.busy_w * self.inference_s

    def invoke(self):
        if not self.busy or abs(self.busy[-1][1] - self.now_s) > 1e-9:
            watts = self.busy_w * (1 + self.unsteady * self.rng.standard_normal())
            self.busy.append([self.now_s, self.now_s, watts])
        self.now_s += self.inference_s
        self.busy[-1][1] = self.now_s

    def sleep(self, seconds):
        self.now_s += seconds

    def joules(self, when_s):
        """Energy since the start, at moments [n] in s."""
        t = np.asarray(when_s) - self.start_s
        turn = 2 * np.pi / self.wander_s
        total = self.idle_w * t + self.drift_w_s * t**2 / 2
        total -= self.wander_w / turn * (np.cos(turn * t + self.phase) - np.cos(self.phase))
        for begin, end, watts in self.busy:
            total = total + watts * np.clip(np.asarray(when_s) - begin, 0, end - begin)
        return total

    @property
    def clock(self):
        return Clock(lambda: round(self.now_s * 1e9), self.sleep)


@dataclass
class Instrument:
    """Reads a world at its rate, with jitter; noise in W, relative noise, steps, wraps and gaps as it has them."""

    world: World
    traits: Traits
    mean_s: float = 0.0
    """A reading is the mean power of so long before it (0: of a millisecond)."""
    noise_w: float = 0.0
    noise: float = 0.0
    memory: float = 0.0
    """How much a reading's noise resembles the one before, 0 to 1."""
    jitter: float = 0.1
    gap_chance: float = 0.0
    """Of a gap, for each second; a gap lasts `gap_s`."""
    gap_s: float = 0.2
    clock_s: float = 0.0
    """Readings are dated wrongly by up to so much, and say so."""

    def __post_init__(self):
        self.read_until_s = self.world.now_s + self.world.rng.uniform(0, 1 / self.traits.rate_hz)
        self.offset_s = self.world.rng.uniform(-self.clock_s, self.clock_s)
        self.last_noise = 0.0
        self.counter_j = self.world.rng.uniform(0, self.traits.wraps_at_j) if self.traits.wraps_at_j else 0.0

    def take(self):
        when = self._moments()
        if not len(when):
            return [], ""
        rng = self.world.rng
        if self.traits.kind == COUNTER:
            values = self._steps(self.world.joules(when) + self.counter_j)
            if self.traits.wraps_at_j:
                values = values % self.traits.wraps_at_j
        else:
            mean_s = self.mean_s or 1e-3
            watts = (self.world.joules(when) - self.world.joules(when - mean_s)) / mean_s
            size = self.noise_w + self.noise * watts
            values = self._steps(watts + size * self._noise(rng, len(when)))
        clock = np.round((when - self.mean_s / 2 + self.offset_s) * 1e9).astype(np.int64)
        within = round(self.clock_s * 1e9)
        readings = [
            Reading(at, value, within) for at, value in zip(clock.tolist(), values.tolist(), strict=True)
        ]
        return readings, ""

    def _moments(self):
        begin, end = self.read_until_s, self.world.now_s
        apart = 1 / self.traits.rate_hz
        rng = self.world.rng
        count = max(0, int((end - begin) / apart))
        when = begin + apart * (np.arange(count) + self.jitter * rng.uniform(0, 1, count))
        # It goes on at its own pace, whenever it is asked.
        self.read_until_s = begin + apart * count
        for _ in range(rng.poisson(self.gap_chance * max(0.0, end - begin))):
            at = rng.uniform(begin, end)
            when = when[(when < at) | (when > at + self.gap_s)]
        return when

    def _noise(self, rng, count):
        white = rng.standard_normal(count)
        if not self.memory:
            return white
        fresh, found = np.sqrt(1 - self.memory**2), np.empty(count)
        for place in range(count):
            self.last_noise = self.memory * self.last_noise + fresh * white[place]
            found[place] = self.last_noise
        return found

    def _steps(self, values):
        step = self.traits.resolution
        return np.floor(values / step) * step if step else values


def measured(world, instrument, settings):
    """The repeats of a pass in that world."""
    chunk = max(1, round(0.01 / world.inference_s))
    return Pass(world.invoke, instrument, settings, world.clock, chunk).run()
