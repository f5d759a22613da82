"""What an estimator is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from hilnas import options
from hilnas.estimators.halving import Plan
from hilnas.spaces import Space
from hilnas.tasks import Task
from hilnas.trial import Architecture, Estimate


@dataclass(frozen=True)
class EstimateResult:
    """An estimate, and the int8 file it is about, where the estimator makes one."""

    estimate: Estimate
    model: bytes | None = None


class Estimator(Protocol):
    """Says how accurate an architecture is. It is pickled to worker processes, so it holds options only.

    Constructor: `(options)`. The same arguments give the same estimate on one machine.
    """

    Options: ClassVar[type[options.Options]]

    def estimate(self, architecture: Architecture, space: Space, task: Task, seed: int) -> EstimateResult:
        """Estimate accuracy on validation data. It runs in a worker process and never sees test data."""


@dataclass(frozen=True)
class RungResult:
    """What a training says at a rung, and what it goes on from at the next."""

    result: EstimateResult
    checkpoint: bytes


@runtime_checkable
class Staged(Estimator, Protocol):
    """An estimator that trains in stages, of which only the best of a search's candidates see the last one.

    Asked by `estimate`, it goes through all of them.
    """

    @property
    def plan(self) -> Plan:
        """How trainings are staged."""

    def train_rung(
        self,
        architecture: Architecture,
        space: Space,
        task: Task,
        seed: int,
        rung: int,
        checkpoint: bytes | None,
    ) -> RungResult:
        """Train from the rung before, whose checkpoint is given, or from scratch, to a rung; in a worker process."""

    def concluded(self, rungs: Sequence[Estimate], others: Sequence[Sequence[Estimate]]) -> Estimate:
        """Return the estimate of a training that ended with these results of its rungs, in order.

        `others` are those of all trainings so far: what becomes of curves like this one.
        """


@runtime_checkable
class Preparing(Estimator, Protocol):
    """An estimator with long work to do once, before it can answer: a supernet to train, a reference to take.

    A search has it done beside the first measurements, keeps what came of it by digest, and asks the estimator
    that `prepared` makes of it, also when it goes on another day. A method `check(space, origin)`, where there is one,
    is called before a search begins, to refuse it.
    """

    def prepare(self, space: Space, task: Task, seed: int, threads: int, origin: Mapping[str, Any]) -> bytes:
        """Do it, in a worker process, on `threads` threads; `executors.save` and `saved` keep it from a loss.

        `origin` are the recipe's sections that say what is searched, for files that outlive the search. It never
        sees test data.
        """

    def prepared(self, content: bytes) -> Estimator:
        """Return the estimator that answers by what `prepare` returned."""


@runtime_checkable
class Learned(Estimator, Protocol):
    """An estimator that has learned from accuracies of architectures: asked about those it would only repeat them."""

    def knows(self, architecture: Architecture) -> bool:
        """Has it learned from this very architecture? A study does not ask it about such."""
