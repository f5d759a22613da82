"""What zero-cost proxies teach a strategy before the first trial: ranks of a sample, in the place of accuracies."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hilnas.estimators.zero_cost import rank_estimate
from hilnas.executors import Checkpoint, Executor, WorkerDiedError
from hilnas.proxies import Reference, Scores, sample
from hilnas.search.errors import SearchError
from hilnas.search.setup import Setup
from hilnas.search.work import score_by_proxies
from hilnas.trial import Architecture, Estimate, Proposal, Trial, TrialStatus

_PIECE = 16
"""Architectures that a worker scores in one go."""


class ProxyHints:
    """Scores a sample in workers, piece by piece; what a lost session had scored is not scored again."""

    def __init__(
        self, setup: Setup, executor: Executor, folder: Path, told: Callable[[float], object]
    ) -> None:
        """Checkpoints go to the results `folder`; `told` gets the share done."""
        self._setup, self._executor, self._told = setup, executor, told
        self._folder = folder / "checkpoints"
        self._shares: dict[int, float] = {}
        self._checkpoints: list[Checkpoint] = []

    async def trials(self, earlier: Sequence[Trial]) -> tuple[Trial, ...]:
        """Return the sample as final trials, and behind it those of `earlier` searches, numbered anew.

        Theirs come last, since what is last counts where a strategy can't learn from all.
        """
        options = self._setup.recipe.search.warm_start_proxy
        assert options is not None, "nothing to score was asked for"
        drawn = sample(self._setup.space, options.architectures, self._setup.seed)
        pieces = [drawn[start : start + _PIECE] for start in range(0, len(drawn), _PIECE)]
        self._shares = dict.fromkeys(range(len(pieces)), 0.0)
        self._checkpoints = [Checkpoint(self._folder / f"hints-{place}") for place in range(len(pieces))]
        found = await asyncio.gather(*(self._score(place, piece) for place, piece in enumerate(pieces)))
        hints = as_trials(drawn, [scores for piece in found for scores in piece], earlier)
        return tuple(replace(trial, number=n) for n, trial in enumerate([*hints, *earlier]))

    def forget(self) -> None:
        """Remove the checkpoints: the record has it all."""
        for checkpoint in self._checkpoints:
            checkpoint.remove()

    async def _score(self, place: int, piece: Sequence[Architecture]) -> list[Scores]:
        def told(share: float) -> None:
            self._shares[place] = share
            self._told(sum(self._shares.values()) / len(self._shares))

        setup = self._setup
        try:
            return await self._executor.run(
                score_by_proxies,
                piece,
                setup.space,
                setup.task,
                setup.recipe.search.warm_start_proxy,
                setup.seed,
                told=told,
                checkpoint=self._checkpoints[place],
            )
        except WorkerDiedError as error:
            raise SearchError(
                f"what search.warm_start_proxy asks for could not be scored: {error}. "
                "Take it out, and start anew with another --out"
            ) from error


def as_trials(
    drawn: Sequence[Architecture], scores: Sequence[Scores], earlier: Sequence[Trial]
) -> list[Trial]:
    """Return architectures as trials whose accuracy is their rank among each other.

    Where there are `earlier` accuracies, a rank is turned into the accuracy that has this rank among them: a model
    that learns from both would else see two scales.
    """
    reference = Reference.of(scores)
    accuracies = [trial.estimate.accuracy for trial in earlier if trial.estimate is not None]
    trials = []
    for number, (architecture, found) in enumerate(zip(drawn, scores, strict=True)):
        estimate = rank_estimate(found, reference)
        if accuracies:
            estimate = _as_accuracy(estimate, accuracies)
        trials.append(Trial(number, Proposal(architecture), status=TrialStatus.SCORED, estimate=estimate))
    return trials


def _as_accuracy(estimate: Estimate, accuracies: Sequence[float]) -> Estimate:
    rank, se = estimate.accuracy, estimate.accuracy_se
    low, middle, high = np.quantile(accuracies, np.clip([rank - se, rank, rank + se], 0, 1))
    return replace(
        estimate, accuracy=float(middle), accuracy_se=max(float(high - low) / 2, 1e-3), is_rank=False
    )
