"""Plug-ins of a user, by dotted path: an estimator that trains nothing, so that searches are quick, and others."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from hilnas.estimators import EstimateResult
from hilnas.options import Options
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.strategies.random import Random
from hilnas.tasks.digits import Digits
from hilnas.trial import Estimate


class OracleOptions(Options):
    """Where calls are noted, how long each takes, and which share of candidates kills its worker."""

    calls: Path
    seconds: float = 0.0
    deadly: int = 0
    """One digest in so many kills the worker that is asked about it; 0 for none."""


class Oracle:
    """An accuracy by the architecture's digest: the same in every process, for ever."""

    Options = OracleOptions

    def __init__(self, options):
        self.options = options

    def prepare(self, space, task, seed, threads, origin):
        return space.name.encode()

    def prepared(self, content):
        assert content == b"mbconv"
        return self

    def estimate(self, architecture, space, task, seed):
        with self.options.calls.open("a") as calls:
            calls.write(f"{architecture.digest}\n")
        draw = int(architecture.digest[:8], 16)
        if self.options.deadly and draw % self.options.deadly == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.options.seconds)
        return EstimateResult(Estimate("oracle", draw / 2**32, 0.01))


class Boastful(Oracle):
    """Says something of every third architecture that no accuracy can be."""

    def estimate(self, architecture, space, task, seed):
        found = super().estimate(architecture, space, task, seed)
        draw = int(architecture.digest[:8], 16)
        return found if draw % 3 else EstimateResult(Estimate("boastful", float("nan"), 0.01))


class NotingOptions(MBConvOptions):
    """Where it is noted what is built."""

    built: Path


class Noting(MBConv):
    """A space that notes the digest of every net it builds."""

    Options = NotingOptions

    def build(self, architecture):
        with self.options.built.open("a") as built:
            built.write(f"{architecture.digest}\n")
        return super().build(architecture)


class Doubting(Random):
    """Proposes everything twice, in doubt of the first time."""

    def __init__(self, problem, options, seed):
        super().__init__(problem, options, seed)
        self._doubted = None

    def propose(self, pending):
        if self._doubted is None:
            self._doubted = super().propose(pending)
            return self._doubted
        again, self._doubted = replace(self._doubted, repeat=1), None
        return again


class Sleepy(Digits):
    """A task whose data takes for ever to read."""

    def read(self):
        print("reading", flush=True)
        time.sleep(3600)
        return super().read()
