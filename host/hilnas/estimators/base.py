"""What an estimator is."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from hilnas import options
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
