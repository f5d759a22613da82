"""Strategies side by side on a table: how far from the best architecture after so many evaluations."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.objectives import Objective, hypervolume, rewards
from hilnas.plugins import Axis, find, options_of
from hilnas.strategies import Problem, Strategy
from hilnas.testing.tabular import Table, TableError, TableSpace, shares
from hilnas.testing.virtual import FarmConditions, Outcome, VirtualFarm
from hilnas.trial import Architecture, Trial


@dataclass(frozen=True)
class Contest:
    """What strategies are judged on."""

    table: Table
    accuracy: str
    costs: tuple[str, ...]
    objectives: tuple[Objective, ...]
    """Accuracy, and one on each cost, whose device class is the column's name."""
    features: tuple[str, ...] = ()
    """Columns that the space tells of an architecture before it is measured."""

    @cached_property
    def values(self) -> dict[str, NDArray[np.float64]]:
        """True values [N] by objective label."""
        columns = self.table.columns
        found = {str(self.objectives[0].label): shares(columns[self.accuracy], self.accuracy)}
        for cost, objective in zip(self.costs, self.objectives[1:], strict=True):
            found[objective.label] = columns[cost]
        return found

    @cached_property
    def rewards(self) -> NDArray[np.float64]:
        """True reward [N] of each row; minus infinity beyond a limit."""
        values = self.values
        result = np.broadcast_to(rewards(self.objectives, values), len(self.table)).astype(float)
        for objective in self.objectives:
            result[objective.breaks_limit(values[objective.label])] = -np.inf
        if not np.isfinite(result).any():
            raise TableError("every architecture of the table breaks a limit: lower the accuracy floor")
        return result

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """True losses [N, Q] by objective, from 0 for the table's best value to 1 for its worst."""
        signs = [-1.0 if objective.maximise else 1.0 for objective in self.objectives]
        found = np.stack([sign * v for sign, v in zip(signs, self.values.values(), strict=True)], axis=1)
        best, worst = found.min(0), found.max(0)
        losses: NDArray[np.float64] = (found - best) / np.maximum(worst - best, 1e-300)
        return losses

    @cached_property
    def front_volume(self) -> float:
        """Hypervolume of the table's own front."""
        return self.volume(np.flatnonzero(np.isfinite(self.rewards)))

    def volume(self, rows: Sequence[int] | NDArray[np.intp]) -> float:
        """Return the hypervolume of rows, up to the worst values of the table."""
        points = [tuple(point) for point in self.losses[np.unique(np.asarray(rows, np.intp))].tolist()]
        return hypervolume(points, [1.0] * len(self.objectives))


@dataclass(frozen=True)
class Entrant:
    """A strategy by its plug-in's name, its settings, and what to call it."""

    label: str
    name: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class SeedResult:
    """One strategy's search with one seed."""

    strategy: str
    seed: int
    best: list[float]
    """True reward of the best architecture so far, after each evaluation."""
    chosen: dict[int, int]
    """Budget to the row that the strategy would hand over then; -1 for none."""
    seconds_per_proposal: float
    makespan_s: float
    tried: list[int]
    """The row of each evaluation that was scored; -1 for the others."""
    rank_correlation: float | None = None


@dataclass
class Results:
    """All seeds of all strategies."""

    contest: Contest
    budgets: tuple[int, ...]
    seeds: list[SeedResult] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return regrets by strategy and budget, and the best row of each strategy."""
        names = list(dict.fromkeys(result.strategy for result in self.seeds))
        results = [self._row(name, budget) for name in names for budget in self.budgets]
        return {"results": results, "best": {name: self._best(name) for name in names}}

    def regrets(self, strategy: str, budget: int) -> NDArray[np.float64]:
        """Return the regret of the architecture chosen after `budget` evaluations, in % of the optimum, by seed."""
        truth = self.contest.rewards
        worst = float(truth[np.isfinite(truth)].min())
        found = [truth[r.chosen[budget]] if r.chosen[budget] >= 0 else worst for r in self._of(strategy)]
        regrets: NDArray[np.float64] = _regret(np.array(found), float(truth.max()))
        return regrets

    def curve(self, strategy: str) -> NDArray[np.float64]:
        """Return the mean regret of the best architecture tried, after each evaluation [budget]."""
        best = np.array([result.best for result in self._of(strategy)])
        mean: NDArray[np.float64] = _regret(best, float(self.contest.rewards.max())).mean(0)
        return mean

    def volumes(self, strategy: str, budget: int) -> NDArray[np.float64]:
        """Return the hypervolume of what was tried by then, in % of that of the table's front, by seed."""
        tried = [np.array(result.tried[:budget], np.intp) for result in self._of(strategy)]
        whole = self.contest.front_volume
        return np.array([100 * self.contest.volume(rows[rows >= 0]) / whole for rows in tried])

    def _of(self, strategy: str) -> list[SeedResult]:
        return [result for result in self.seeds if result.strategy == strategy]

    def _row(self, strategy: str, budget: int) -> dict[str, Any]:
        truth = self.contest.rewards
        regrets = self.regrets(strategy, budget)
        tenth = float(_regret(np.sort(truth)[-min(10, len(truth))], float(truth.max())))
        seeds = self._of(strategy)
        row: dict[str, Any] = {
            "strategy": strategy,
            "budget": budget,
            "regret_percent_mean": float(regrets.mean()),
            "regret_percent_se": _standard_error(regrets),
            "regret_percent_median": float(np.median(regrets)),
            "regret_percent_p90": float(np.quantile(regrets, 0.9)),
            "optimum_share": float((regrets <= 1e-9).mean()),
            "top10_share": float((regrets <= tenth + 1e-9).mean()),
            "seconds_per_proposal": float(np.mean([r.seconds_per_proposal for r in seeds])),
            "makespan_hours": float(np.mean([r.makespan_s for r in seeds])) / 3600,
        }
        if self.contest.costs and self.contest.front_volume > 0:
            volumes = self.volumes(strategy, budget)
            row["hypervolume_percent_mean"] = float(volumes.mean())
            row["hypervolume_percent_se"] = _standard_error(volumes)
        correlations = [r.rank_correlation for r in seeds if r.rank_correlation is not None]
        return {**row, "rank_correlation": float(np.mean(correlations)) if correlations else None}

    def _best(self, strategy: str) -> dict[str, Any] | None:
        truth, table = self.contest.rewards, self.contest.table
        rows = [r.chosen[max(self.budgets)] for r in self._of(strategy) if r.chosen[max(self.budgets)] >= 0]
        if not rows:
            return None
        row = max(rows, key=lambda candidate: float(truth[candidate]))
        costs = [float(table.columns[cost][row]) for cost in self.contest.costs]
        return {
            "index": int(table.lines[row]),
            "arch": table.values(row),
            "accuracy": float(table.columns[self.contest.accuracy][row]),
            "cost": costs[0] if costs else None,
            "reward": float(truth[row]),
        }


def _regret(reward: Any, best: float) -> Any:
    return 100 * (best - reward) / max(abs(best), 1e-12)


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def run_contest(
    contest: Contest,
    strategies: Sequence[Entrant],
    budgets: Sequence[int],
    seeds: Sequence[int],
    conditions: FarmConditions,
    workers: int = 0,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Results:
    """Run every strategy with every seed; `told` hears how many are done, of how many.

    `workers` processes share the work, as many as there are cores when 0.
    """
    for entrant in strategies:
        options_of(Axis.STRATEGY, entrant.name, entrant.settings)
    results = Results(contest, tuple(sorted(budgets)))
    arguments = [
        (contest, entrant, seed, results.budgets, conditions) for seed in seeds for entrant in strategies
    ]
    workers = min(workers or len(os.sched_getaffinity(0)), len(arguments))
    for done, result in enumerate(_all(arguments, workers), start=1):
        results.seeds.append(result)
        told(done, len(arguments))
    order = [entrant.label for entrant in strategies]
    results.seeds.sort(key=lambda result: (order.index(result.strategy), result.seed))
    return results


def _all(arguments: list[Any], workers: int) -> Iterator[SeedResult]:
    if workers == 1:
        yield from (run_seed(*job) for job in arguments)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one seed, one core
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        futures = [pool.submit(run_seed, *job) for job in arguments]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def run_seed(
    contest: Contest,
    entrant: Entrant,
    seed: int,
    budgets: tuple[int, ...],
    conditions: FarmConditions,
) -> SeedResult:
    """Run one strategy with one seed."""
    space = _space(contest.table, contest.features)
    problem = Problem(space, contest.objectives)
    options = options_of(Axis.STRATEGY, entrant.name, entrant.settings)
    strategy: Strategy = find(Axis.STRATEGY, entrant.name)(problem, options, seed)
    count = min(max(budgets), len(contest.table))
    values = contest.values

    def truth(architecture: Architecture) -> dict[str, float]:
        row = space.row(architecture)
        return {label: float(column[row]) for label, column in values.items()}

    outcome = VirtualFarm(strategy, contest.objectives, truth, conditions, seed).run(count)
    noisy = conditions.cost_noise > 0 or conditions.accuracy_noise > 0
    best = _best_so_far(contest.rewards, space, outcome, max(budgets))
    chosen = {
        budget: _chosen(strategy, space, outcome.trials[:budget], best, budget, noisy) for budget in budgets
    }
    truths = contest.rewards
    worst = float(truths[np.isfinite(truths)].min())
    return SeedResult(
        entrant.label,
        seed,
        [float(truths[row]) if row >= 0 else worst for row in best],
        chosen,
        outcome.strategy_s / len(outcome.trials),
        outcome.makespan_s,
        [space.row(trial.architecture) if trial.score is not None else -1 for trial in outcome.trials],
        strategy.diagnostics().get("rank_correlation"),
    )


def _best_so_far(truth: NDArray[np.float64], space: TableSpace, outcome: Outcome, count: int) -> list[int]:
    """Return the row of the truly best SCORED trial up to each; -1 before there is one."""
    best, rows = -1, []
    for trial in outcome.trials:
        if trial.score is not None:
            row = space.row(trial.architecture)
            if best < 0 or truth[row] > truth[best]:
                best = row
        rows.append(best)
    return rows + [best] * (count - len(rows))


def _chosen(
    strategy: Strategy,
    space: TableSpace,
    trials: Sequence[Trial],
    best: Sequence[int],
    budget: int,
    noisy: bool,
) -> int:
    if not noisy:  # then what is best is known
        return best[budget - 1]
    ranked = strategy.rank(trials)
    return space.row(ranked[0].architecture) if ranked else -1


@lru_cache(maxsize=2)
def _space(table: Table, features: tuple[str, ...]) -> TableSpace:
    return TableSpace(table, features)
