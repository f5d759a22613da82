"""The loop: proposes, keeps trials under way, lets the strategy learn, until the search has enough."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from hilnas.search.context import SearchContext
from hilnas.search.errors import SearchError
from hilnas.search.lifecycle import Lifecycle
from hilnas.search.replay import pending, replay
from hilnas.search.schedule import MIN_OVERDUE_S, Window, overdue_after_s
from hilnas.store import EventKind
from hilnas.store.codec import dump
from hilnas.trial import TrialStatus

MAX_FAILED_SHARE = 0.5
"""A session in which more than this share of trials FAILED, `MIN_FAILED` at least, gives up."""
MIN_FAILED = 8


class SearchLoop:
    """One search, from its record's end on.

    The last trials are left unobserved: a search that is given more trials later goes on as one that
    had them from the start.
    """

    def __init__(self, context: SearchContext, prepared: bytes = b"") -> None:
        """`prepared` is what the strategy prepared."""
        self._context = context
        self._options = context.setup.recipe.search
        self.history = history = context.history
        self.lifecycle = Lifecycle(context)
        self.strategy = context.setup.new_strategy(history.earlier or (), prepared)
        self._window = Window(self._options.in_flight, self._options.group)
        self._running: dict[int, asyncio.Task[None]] = {}
        self._launched: dict[int, float] = {}
        self._ended_s: list[float] = []
        self._started = time.monotonic()
        self._spent_before_s = sum(span.ended_unix - span.started_unix for span in history.sessions)
        self._final_before = {trial.number for trial in history.trials if trial.final}
        self.on_change: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Run to the end of the budget. Cancelling it leaves every trial where the record has it."""
        replay(self.strategy, self._window, self.history)
        self._context.preparation.start()
        try:
            for trial in self.history.trials:
                if not trial.final:
                    self._launch(trial.number)
            while True:
                while self._may_propose():
                    self._propose()
                if not self._running:
                    break
                await asyncio.wait(
                    self._running.values(), timeout=MIN_OVERDUE_S, return_when=asyncio.FIRST_COMPLETED
                )
                self._collect()
        finally:
            for task in self._running.values():
                task.cancel()
            with suppress(BaseException):
                await asyncio.gather(*self._running.values(), return_exceptions=True)
            await self._context.preparation.close()

    @property
    def counted(self) -> int:
        """Trials that count towards the budget: those that no device or host has failed."""
        return sum(trial.status is not TrialStatus.FAILED for trial in self.history.trials)

    def _may_propose(self) -> bool:
        options = self._options
        if self.counted >= options.trials:
            return False
        spent_s = self._spent_before_s + time.monotonic() - self._started
        if options.hours is not None and spent_s > options.hours * 3600:
            return False
        return self._learn()

    def _learn(self) -> bool:
        """Let the strategy observe what it must before the next proposal; False when that has not ended yet."""
        trials = self.history.trials
        while (group := self._window.next_group(lambda n: trials[n].final, self._is_overdue)) != []:
            if group is None:
                return False
            payload = {"trials": group, "diagnostics": dict(self.strategy.diagnostics())}
            self._context.append(EventKind.OBSERVED, key=str(group[-1] + 1), payload=payload)
            self._window.remove(group)
            self.strategy.observe([trials[n] for n in group])
        return True

    def _is_overdue(self, number: int) -> bool:
        after_s = overdue_after_s(self._ended_s, self._options.patience)
        return time.monotonic() >= self._launched[number] + after_s

    def _propose(self) -> None:
        trials = self.history.trials
        number = len(trials)
        proposal = self.strategy.propose(pending([trials[n] for n in self._window.unobserved]))
        self._context.append(EventKind.PROPOSED, number, payload=dump(proposal))
        self._window.add(number)
        self._launch(number)

    def _launch(self, number: int) -> None:
        self._launched[number] = time.monotonic()
        self._running[number] = asyncio.create_task(self.lifecycle.run(number), name=f"trial {number}")
        self.on_change()

    def _collect(self) -> None:
        for number, task in list(self._running.items()):
            if not task.done():
                continue
            del self._running[number]
            self._ended_s.append(time.monotonic() - self._launched[number])
            error = task.exception()
            if error is not None:
                raise SearchError(_unexpected(number, error)) from error
        ended = [t for t in self.history.trials if t.final and t.number not in self._final_before]
        failed = [trial for trial in ended if trial.status is TrialStatus.FAILED]
        if len(failed) >= MIN_FAILED and len(failed) > MAX_FAILED_SHARE * len(ended):
            raise SearchError(
                f"{len(failed)} of {len(ended)} trials failed for no fault of theirs, the last one: "
                f"{failed[-1].reason}. Mend that and use --resume"
            )
        self.on_change()


def _unexpected(number: int, error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, SearchError):
        return str(error)
    return f"trial {number} ended in {type(error).__name__}: {error}. Mend that and use --resume"
