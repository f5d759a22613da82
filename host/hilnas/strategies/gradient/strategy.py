"""`darts` and `proxyless`: what a gradient-based search found is proposed, and measured like anything else."""

import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from hilnas.executors.resumable import go_on
from hilnas.objectives import Objective
from hilnas.options import Options
from hilnas.spaces import Space
from hilnas.strategies.base import Problem, Strategy
from hilnas.strategies.common import Novelty
from hilnas.strategies.gradient.options import BilevelOptions
from hilnas.strategies.gradient.table import device_table
from hilnas.tasks import Task
from hilnas.trial import Architecture, Choice, Proposal, Trial


class DartsOptions(BilevelOptions):
    """Settings of `darts`."""


class ProxylessOptions(BilevelOptions):
    """Settings of `proxyless`."""

    gates: Literal["softmax", "gumbel", "binary"] = "binary"


class Darts(Strategy):
    """Proposes the nets that the learned distribution thinks most of, the most probable one first.

    It learns before the first proposal, from data and a latency table, and nothing from trials: `search.trials`
    is how many of its best are measured.
    """

    Options: ClassVar[type[Options]] = DartsOptions

    def __init__(self, problem: Problem, options: BilevelOptions, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self._novelty = Novelty(problem.space, generator)
        self._found: Mapping[str, Any] = json.loads(problem.prepared) if problem.prepared else {}
        # Nothing learned: all nets are nearly alike, in an order of the seed's.
        self._logs: Mapping[str, Sequence[float]] = self._found.get("log_probabilities") or {
            d.name: np.log(generator.uniform(0.99, 1, len(d.choices)) / len(d.choices)).tolist()
            for d in problem.space.decisions
        }
        self._choices = {d.name: d.choices for d in problem.space.decisions}
        self._ranked = ranked(problem.space, self._logs)

    @classmethod
    def check(cls, space: Space, objectives: Sequence[Objective], options: BilevelOptions) -> None:
        """See that there is a table that fits, before anything starts. OptionsError or TableError otherwise."""
        expected_latency(space, objectives, options)

    @classmethod
    def prepare(
        cls,
        space: Space,
        task: Task,
        objectives: Sequence[Objective],
        options: BilevelOptions,
        seed: int,
        threads: int,
    ) -> bytes:
        """Search, from where a checkpoint left off; return the distribution. OptionsError without a fitting table."""
        import torch

        from hilnas.strategies.gradient.search import GradientSearch

        torch.set_num_threads(threads)
        latency, target_ms = expected_latency(space, objectives, options)
        search = GradientSearch(space, task, options, seed, latency, target_ms)
        go_on(search)
        probabilities = search.parameters.probabilities()
        found = {
            "log_probabilities": {
                name: p.clamp_min(1e-12).log().tolist() for name, p in probabilities.items()
            },
            "expected_ms": search.expected_ms(),
            "target_ms": target_ms,
        }
        return json.dumps(found).encode()

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Propose the next net in order of probability."""
        fresh = (net for net, _ in self._ranked if net not in self._novelty)
        net = next(fresh, None) or self._novelty.space.sample(self._novelty.generator)
        taken = self._novelty.take(net)  # when the space is exhausted, one again
        return Proposal(taken, 0, tuple(self._log(name, value) for name, value in taken.decisions))

    def _log(self, name: str, value: Choice) -> float:
        return self._logs[name][self._choices[name].index(value)]

    def observe(self, trials: Sequence[Trial]) -> None:
        """Learn nothing: what is proposed is settled."""

    def diagnostics(self) -> Mapping[str, float]:
        """Return the latency that was expected of the distribution, in ms, where there was a table."""
        expected = self._found.get("expected_ms")
        return {} if expected is None else {"expected_ms": float(expected)}


class Proxyless(Darts):
    """The same with one net at a time in each pass (binary gates)."""

    Options: ClassVar[type[Options]] = ProxylessOptions


def expected_latency(
    space: Space, objectives: Sequence[Objective], options: BilevelOptions
) -> tuple[Any, float | None]:
    """Return the differentiable latency and its target; nothing where latency has no target among the objectives."""
    from hilnas.strategies.gradient.latency import ExpectedLatency

    table, objective = device_table(objectives, options)
    if table is None or objective is None:
        return None, None
    quality = table.quality()
    slope, intercept = (quality.slope, quality.intercept_ms) if quality else (1.0, 0.0)
    latency = ExpectedLatency(space, table.part_ms, slope, intercept)
    return latency, objective.target


def ranked(space: Space, logs: Mapping[str, Sequence[float]]) -> Iterator[tuple[Architecture, float]]:
    """Yield every net, the one of the most probable choices first, with the natural logarithm of its probability.

    A best-first walk from it: each step takes the next best choice of one decision, so what comes early is near
    the first, and probable. Where nets have unlike numbers of decisions the order is not exactly theirs.
    """
    orders = {
        d.name: sorted(range(len(d.choices)), key=lambda i, name=d.name: (-logs[name][i], i))  # type: ignore[misc]
        for d in space.decisions
    }
    choices = {d.name: d.choices for d in space.decisions}

    def best(wanted: Mapping[str, int]) -> tuple[Architecture, float, dict[str, int]]:
        """Return the net with the choices of the ranks wanted, and of rank 0 elsewhere."""
        taken = {name: choices[name][orders[name][rank]] for name, rank in wanted.items()}
        rest = {name: choices[name][order[0]] for name, order in orders.items()}
        net = space.complete({**rest, **taken}, lambda open_: open_[0])
        indices = {name: choices[name].index(value) for name, value in net.decisions}
        return (
            net,
            sum(logs[name][i] for name, i in indices.items()),
            {name: orders[name].index(i) for name, i in indices.items()},
        )

    first, log, ranks = best({})
    heap: list[tuple[float, int, Architecture, dict[str, int]]] = [(-log, 0, first, ranks)]
    seen = {first}
    while heap:
        cost, _, net, ranks = heapq.heappop(heap)
        yield net, -cost
        for name, rank in ranks.items():
            if rank + 1 >= len(choices[name]):
                continue
            changed, log, new = best({**ranks, name: rank + 1})
            if changed not in seen:
                seen.add(changed)
                heapq.heappush(heap, (-log, len(seen), changed, new))
