"""How a command of several phases is shown."""

import io
import time

from rich.console import Console

from hilnas.cli.phases import shown


def test_elsewhere_than_on_a_terminal_phases_are_lines_and_not_too_many():
    out = io.StringIO()
    with shown(Console(file=out, force_terminal=False)) as show:
        show.phase, show.total = "asking train", 1000
        time.sleep(0.8)
        for done in range(1, 1001):
            show.done = done
            time.sleep(0.001)
        time.sleep(0.8)
        show.phase, show.total = "training in full", 0
        time.sleep(0.8)
    lines = out.getvalue().splitlines()
    assert lines[0] == "asking train: 0/1000"
    assert lines[-2:] == ["asking train: 1000/1000", "training in full"]
    assert len(lines) <= 22


def test_on_a_terminal_it_is_a_bar_that_is_gone_at_the_end():
    out = io.StringIO()
    with shown(Console(file=out, force_terminal=True, width=100)) as show:
        show.phase, show.done, show.total = "asking supernet", 3, 40
        show.inside = {"supernet": 0.25}
        time.sleep(1.2)
    assert "asking supernet, preparing supernet 25%" in out.getvalue()
    assert "3/40" in out.getvalue()
    assert out.getvalue().rstrip().endswith("\x1b[2K")
