"""A command of several phases as it goes on: a bar on a terminal, some lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hilnas.daemon.phases import Phases

_TICK_S = 0.5
_LINES = 20
"""Of a phase, off a terminal, at most."""


@contextmanager
def shown(console: Console) -> Iterator[Phases]:
    """Show the phases that the body writes, until it ends."""
    phases, ended = Phases(), Event()
    show = _draw if console.is_terminal else _tell
    teller = Thread(target=show, args=(console, phases, ended), daemon=True)
    teller.start()
    try:
        yield phases
    finally:
        ended.set()
        teller.join()


def _draw(console: Console, phases: Phases, ended: Event) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        row = bar.add_task("starting", total=None)
        while not ended.wait(_TICK_S):
            bar.update(row, description=str(phases), completed=phases.done, total=phases.total or None)


def _tell(console: Console, phases: Phases, ended: Event) -> None:
    said: tuple[str, int, tuple[int, ...]] = ("", 0, ())
    while not ended.wait(_TICK_S):
        shares = tuple(int(share * _LINES) for share in dict(phases.inside).values())
        now = (phases.phase, phases.done * _LINES // phases.total if phases.total else 0, shares)
        if now != said:
            count = f": {phases.done}/{phases.total}" if phases.total else ""
            console.print(f"{phases}{count}")
            said = now
