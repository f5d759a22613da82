"""Which trainings go on: successive halving over rungs of ever longer training. Pure: told results, it decides.

- In groups (Jamieson & Talwalkar 2016): the trials of a group wait for each other at each rung, and the best
  1/eta of them go on. What comes out does not depend on who was quick.
- Asynchronously (ASHA, Li et al. 2020): who is among the best 1/eta of all results of a rung goes on at once;
  who is not waits, and goes on later if it is by then. A trial that `patience` results of its rung have
  come and gone by is let go.

Brackets (Hyperband, Li et al. 2017): a group, or a trial, begins at the lowest rung, the next one above it, and so on
in turn, so that slow starters are not always lost.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plan:
    """How trainings are staged."""

    rungs: int
    """Number of rungs; the last one is the whole training."""
    eta: int = 3
    """One in so many goes on."""
    group: int | None = 4
    """Trials that wait for each other, by number; None for asynchronous promotion."""
    brackets: int = 1
    """How many rungs a training may begin at, in turn."""
    patience: int = 9
    """Asynchronous: results of its rung after which a trial that waits is let go."""

    def first_rung(self, trial: int) -> int:
        """Return the rung up to which a trial is trained at first, whatever others do."""
        unit = trial if self.group is None else trial // self.group
        return unit % min(self.brackets, self.rungs)


@dataclass
class _Waiting:
    """A trial with a result that has not been decided on."""

    rung: int
    since: int
    """Results of its rung when it came."""


@dataclass
class Halving:
    """The state of all trainings: trials come, have results, and leave."""

    plan: Plan
    results: list[dict[int, float]] = field(init=False)
    """Accuracy by trial, of each rung."""

    def __post_init__(self) -> None:
        self.results = [{} for _ in range(self.plan.rungs)]
        self._came: set[int] = set()
        self._open: set[int] = set()
        self._waiting: dict[int, _Waiting] = {}

    def came(self, trial: int) -> None:
        """Take a trial that may have results one day."""
        self._came.add(trial)
        self._open.add(trial)

    def result(self, trial: int, rung: int, accuracy: float) -> None:
        """Take a result; the trial waits for a decision, if it is not at the top."""
        self.results[rung][trial] = accuracy
        if rung < self.plan.rungs - 1 and rung >= self.plan.first_rung(trial):
            self._waiting[trial] = _Waiting(rung, len(self.results[rung]))

    def gone(self, trial: int) -> None:
        """Take it that a trial has ended, or will have no result."""
        self._open.discard(trial)
        self._waiting.pop(trial, None)

    def decisions(self) -> dict[int, bool]:
        """Return who goes on (True) and who is let go (False), of those that wait; each is told once."""
        found = dict(self._asynchronous() if self.plan.group is None else self._in_groups())
        if not found and self._waiting and self._open <= self._waiting.keys():
            found = self._stuck()
        for trial, goes_on in found.items():
            del self._waiting[trial]
            if not goes_on:
                self._open.discard(trial)
        return found

    def _in_groups(self, short: bool = False) -> Iterator[tuple[int, bool]]:
        """Decide by all that had a result of the rung, also those that have gone on since: so a resumed search, which
        meets them again on other rungs, decides as it would have. A `short` group waits for no one to be proposed."""
        assert self.plan.group is not None
        for unit in sorted({trial // self.plan.group for trial in self._waiting}):
            members = range(unit * self.plan.group, (unit + 1) * self.plan.group)
            if not (short or self._came.issuperset(members)):
                continue
            rung = min(self._waiting[trial].rung for trial in members if trial in self._waiting)
            results = self.results[rung]
            if any(trial in self._open and trial not in results for trial in members):
                continue
            here = [trial for trial in members if trial in results]
            best = _best(results, here, self.plan.eta)
            for trial in here:
                if trial in self._waiting and self._waiting[trial].rung == rung:
                    yield trial, trial in best

    def _asynchronous(self) -> Iterator[tuple[int, bool]]:
        for trial, waiting in sorted(self._waiting.items()):
            results = self.results[waiting.rung]
            count = len(results) // self.plan.eta
            ranked = sorted(results, key=lambda other: (-results[other], other))
            if trial in ranked[:count]:
                yield trial, True
            elif len(results) - waiting.since >= self.plan.patience:
                yield trial, False

    def _stuck(self) -> dict[int, bool]:
        """Decide where nothing else can happen: of the lowest rung's the best go on, the others do not."""
        if self.plan.group is not None:
            return dict(self._in_groups(short=True))
        lowest = min(waiting.rung for waiting in self._waiting.values())
        here = [trial for trial, waiting in self._waiting.items() if waiting.rung == lowest]
        best = _best(self.results[lowest], here, self.plan.eta)
        return {trial: trial in best for trial in here}


def _best(results: Mapping[int, float], trials: Sequence[int], eta: int) -> set[int]:
    """Return one in `eta` of some trials, rounded up; the earlier one where two are equal."""
    ranked = sorted(trials, key=lambda trial: (-results[trial], trial))
    return set(ranked[: math.ceil(len(ranked) / eta)])
