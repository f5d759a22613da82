"""What an executor is."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar

from hilnas import options
from hilnas.errors import HilnasError
from hilnas.executors.checkpoint import Checkpoint
from hilnas.executors.inside import Told

T = TypeVar("T")


class WorkerDiedError(HilnasError, RuntimeError):
    """A worker process ended while it had work: killed, out of memory, or crashed."""


class OutOfMemoryError(WorkerDiedError):
    """A worker process was ended because it took too much memory."""


class Executor(Protocol):
    """Runs functions of picklable arguments in other processes. Constructor: `(options, log_folder)`."""

    Options: ClassVar[type[options.Options]]

    @property
    def slots(self) -> int:
        """How many functions run at once."""

    def threads(self, at_once: int) -> int:
        """Return how many threads each of `at_once` functions may have, when no others run."""

    async def run(
        self,
        function: Callable[..., T],
        *arguments: Any,
        urgent: bool = False,
        told: Told | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> T:
        """Return `function(*arguments)`; its exceptions are raised here.

        Urgent work goes before work that waits; `told` gets what the function `report`s. With a `checkpoint`
        every try finds in `saved` what it holds, and what the function `save`s goes there; who gave it removes
        it when all is done. WorkerDiedError when the process was lost, after as many tries as the executor
        makes. Cancelling ends the work.
        """

    def pause(self) -> None:
        """Hold all work on this machine still: a device that is this machine is being timed."""

    def resume(self) -> None:
        """Let work go on after `pause`."""

    async def close(self) -> None:
        """End all processes, at once."""
