"""What a function that an executor runs may say to the host, and ask of it; outside a worker nobody listens."""

from collections.abc import Callable
from dataclasses import dataclass

Told = Callable[[float], None]
"""Is told which share of some work is done, 0 to 1."""


@dataclass(frozen=True)
class Host:
    """The host, as the work at hand sees it."""

    told: Told
    keep: Callable[[bytes], None]
    """Takes a checkpoint; when it returns, the end of this process does not lose it."""
    kept: bytes | None
    """The checkpoint that the work goes on from."""


_host: Host | None = None


def report(share: float) -> None:
    """Tell whoever waits for the work at hand that this share of it is done; nobody, outside a worker."""
    if _host is not None:
        _host.told(share)


def save(content: bytes) -> None:
    """Have the host keep this in place of what was saved before, so that another try goes on from here."""
    if _host is not None:
        _host.keep(content)


def saved() -> bytes | None:
    """Return what this very work `save`d last before it was lost; None when it starts from the beginning.

    It may be from another day: see that it fits, and start anew where it does not.
    """
    return _host.kept if _host is not None else None


def work_for(host: Host) -> None:
    """Say who listens from now on: a worker's own affair."""
    global _host  # noqa: PLW0603 - one process does one piece of work at a time
    _host = host
