"""What an executor is."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar

from hilnas import options

T = TypeVar("T")


Told = Callable[[float], None]
"""Is told which share of some work is done, 0 to 1."""

_listener: Told | None = None


def report(share: float) -> None:
    """Tell whoever waits for the work at hand that this share of it is done; nobody, outside a worker."""
    if _listener is not None:
        _listener(share)


def report_to(listener: Told) -> None:
    """Say where `report` goes in this process: a worker's own affair."""
    global _listener  # noqa: PLW0603 - one process does one piece of work at a time
    _listener = listener


class WorkerDiedError(RuntimeError):
    """A worker process ended while it had work: killed, out of memory, or crashed."""


class Executor(Protocol):
    """Runs functions of picklable arguments in other processes. Constructor: `(options, log_folder)`."""

    Options: ClassVar[type[options.Options]]

    @property
    def slots(self) -> int:
        """How many functions run at once."""

    async def run(
        self, function: Callable[..., T], *arguments: Any, urgent: bool = False, told: Told | None = None
    ) -> T:
        """Return `function(*arguments)`; its exceptions are raised here.

        Urgent work goes before work that waits; `told` gets what the function `report`s. WorkerDiedError
        when the process was lost, after as many tries as the executor makes. Cancelling ends the work.
        """

    def pause(self) -> None:
        """Hold all work on this machine still: a device that is this machine is being timed."""

    def resume(self) -> None:
        """Let work go on after `pause`."""

    async def close(self) -> None:
        """End all processes, at once."""
