"""Live progress of a search: a bar, the best so far, what device and trainer are at, time left."""

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hilnas.daemon.run import Run
from hilnas.objectives import UNITS, Quantity, best_trials
from hilnas.recipe import check_recipe
from hilnas.store import Event, EventKind
from hilnas.trial import Score

_ENDS = {EventKind.SCORED, EventKind.INVALID, EventKind.FAILED}


class Progress:
    """A context that draws on a terminal, and prints a line for each trial elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.run: Run | None = None
        self._began = time.monotonic()
        self._ended_before = 0
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def show(self, run: Run) -> None:
        """Take the run to be shown."""
        self.run = run

    def say(self, text: str) -> None:
        """Print a line above what is drawn."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def listen(self, event: Event) -> None:
        """Take an event of the record; off a terminal, the end of a trial is a line."""
        run = self.run
        if run is None or run.history is None:
            return
        if event.kind is EventKind.SESSION_STARTED:
            self._began = time.monotonic()
            self._ended_before = self._ended()
            self._tell_changed_budget(run)
        if self.console.is_terminal:
            return
        if event.kind is EventKind.PREPARED:
            self.say(f"the {event.key.split(' ')[0]} is prepared: {event.payload['seconds']:.0f} s")
        if event.kind not in _ENDS:
            return
        score = run.history.trials[event.trial].score
        what = _in_words(run, score) if score is not None else event.payload["reason"]
        self.say(f"{self._ended()}/{run.recipe.search.trials} trial {event.trial} {event.kind}: {what}")

    def _tell_changed_budget(self, run: Run) -> None:
        if run.history is None or len(run.history.sessions) < 2:
            return
        before, now = (check_recipe(s.recipe).search.trials for s in run.history.sessions[-2:])
        if before != now:
            self.say(f"search.trials is {now} now; the session before had {before}")

    def _ended(self) -> int:
        assert self.run is not None
        return sum(trial.final for trial in self.run.history.trials) if self.run.history else 0

    def _render(self) -> Group:
        run = self.run
        if run is None:
            return Group(Text("starting"))
        ended, wanted = self._ended(), run.recipe.search.trials
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text(run.recipe.search.name, style="bold"),
            ProgressBar(total=wanted, completed=ended, width=32),
            Text(f"{ended}/{wanted} trials"),
            Text(self._time_left(ended, wanted), style="dim"),
        )
        lines = [
            ("now", run.phase + self._winners(run)),
            ("best", self._best(run)),
            ("device", self._devices(run)),
            ("host", self._host(run)),
            ("predictions", self._predictions(run)),
        ]
        detail = Table.grid(padding=(0, 1))
        for name, value in lines:
            if value:
                detail.add_row(Text(f"  {name}", style="dim"), Text(value))
        return Group(bar, detail)

    def _time_left(self, ended: int, wanted: int) -> str:
        done = ended - self._ended_before
        spent = time.monotonic() - self._began
        if done < 2 or ended >= wanted:
            return f"{spent:.0f} s"
        return f"{spent:.0f} s, about {spent / done * (wanted - ended):.0f} s left"

    @staticmethod
    def _best(run: Run) -> str:
        best = best_trials(run.history.trials, 1) if run.history else []
        if not best or best[0].score is None:
            return ""
        return f"trial {best[0].number}: {_in_words(run, best[0].score)}"

    @staticmethod
    def _predictions(run: Run) -> str:
        diagnostics = run.history.diagnostics if run.history is not None else {}
        if "rank_correlation" not in diagnostics:
            return ""
        return f"rank correlation {diagnostics['rank_correlation']:.2f} with what was measured"

    @staticmethod
    def _winners(run: Run) -> str:
        shares = run.winners.shares.values() if run.winners is not None else ()
        epochs = run.recipe.final.epochs + run.recipe.final.qat_epochs
        return "".join(f", {share:.0%} of {epochs} epochs" for share in shares)

    @staticmethod
    def _devices(run: Run) -> str:
        if run.farm is None:
            return ""
        return ", ".join(f"{name} {doing}" for name, doing in run.farm.activity().items())

    @staticmethod
    def _host(run: Run) -> str:
        shares = run.preparation.shares.items() if run.preparation is not None else ()
        preparing = [f"preparing the {what}: {share:.0%}" for what, share in shares]
        if run.loop is None:
            return ", ".join(preparing)
        stages = list(run.loop.lifecycle.stages.values())
        named = {
            "export": "exporting",
            "filter": "ranking",
            "train": "training",
            "measure": "waiting for figures of",
        }
        counts = [f"{named[stage]} {stages.count(stage)}" for stage in named if stage in stages]
        return ", ".join(preparing + counts)


def _in_words(run: Run, score: Score) -> str:
    """Say a reward and what it was made of, with units; the class of device where there are several."""
    classes = run.setup.device_classes if run.setup else ()
    values = []
    for label, value in score.values.items():
        quantity, _, device_class = label.partition("@")
        name = label if device_class and len(classes) > 1 else quantity
        accuracy = quantity == Quantity.ACCURACY
        figure = f"{100 * value:.2f} %" if accuracy else f"{value:.4g} {UNITS[Quantity(quantity)]}"
        values.append(f"{name.replace('_', ' ')} {figure}")
    return f"reward {score.reward:.4f} ({', '.join(values)})"
