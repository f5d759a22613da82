"""Trainings in stages: each rung is an event, and who goes on is decided among the search's trials."""

import asyncio
from collections.abc import Awaitable, Callable

from hilnas.estimators import Staged
from hilnas.estimators.halving import Halving
from hilnas.search.history import History, RungReached
from hilnas.store import ModelFiles
from hilnas.trial import Estimate

Train = Callable[[int, int, bytes | None], Awaitable[RungReached]]
"""Trains a trial to a rung from a checkpoint, and has the record keep what came of it."""


class Stages:
    """The staged trainings of one search. What the record holds of them is not done again."""

    def __init__(self, estimator: Staged, history: History, checkpoints: ModelFiles) -> None:
        self._estimator, self._history, self._checkpoints = estimator, history, checkpoints
        self._halving = Halving(estimator.plan)
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        for trial in history.trials:  # those that ended are judged against, those under way come again
            self._halving.came(trial.number)
            if trial.final:
                for reached in history.rungs.get(trial.number, []):
                    self._halving.result(trial.number, reached.rung, reached.estimate.accuracy)
                self._halving.gone(trial.number)

    def came(self, number: int) -> None:
        """Take a trial that has begun its way."""
        self._halving.came(number)

    def gone(self, number: int) -> None:
        """Take it that a trial's way has ended, or that it will not be trained."""
        self._halving.gone(number)
        self._decide()

    async def estimate(self, number: int, train: Train) -> Estimate:
        """Bring a trial to where it is let go, and return what that comes to."""
        plan = self._estimator.plan
        reached = list(self._history.rungs.get(number, []))
        for one in reached:
            self._halving.result(number, one.rung, one.estimate.accuracy)
        rung = reached[-1].rung if reached else plan.first_rung(number) - 1
        while rung < plan.rungs - 1 and (not reached or await self._goes_on(number)):
            rung += 1
            one = await train(number, rung, self._checkpoint(reached))
            reached.append(one)
            self._halving.result(number, rung, one.estimate.accuracy)
        self.gone(number)
        return self._estimator.concluded([one.estimate for one in reached], self._known(number))

    def _known(self, number: int) -> list[list[Estimate]]:
        """Return the rungs of all that was learned from before a trial was proposed: who is quick changes nothing."""
        history = self._history
        seen = {one for before, group in history.observations if before <= number for one in group}
        return [
            [one.estimate for one in history.rungs[other]] for other in sorted(seen & history.rungs.keys())
        ]

    async def _goes_on(self, number: int) -> bool:
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._decide()
        try:
            return await self._waiting[number]
        finally:
            self._waiting.pop(number, None)

    def _decide(self) -> None:
        """Tell all that have been decided on; a decision may bring about others."""
        while decided := self._halving.decisions():
            for number, goes_on in decided.items():
                future = self._waiting.get(number)
                if future is not None and not future.done():
                    future.set_result(goes_on)

    def _checkpoint(self, reached: list[RungReached]) -> bytes | None:
        """Return what the next rung goes on from; where it was lost, that trains from scratch."""
        if not reached:
            return None
        try:
            return self._checkpoints.get(reached[-1].checkpoint_sha256)
        except (OSError, ValueError):
            return None
