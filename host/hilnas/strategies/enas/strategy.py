"""`enas`: what a policy draws that was trained with shared weights is proposed, the best first."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from hilnas.executors.resumable import go_on
from hilnas.objectives import Objective, Quantity, rewards
from hilnas.options import Options
from hilnas.spaces import Space
from hilnas.strategies.base import Problem, Strategy
from hilnas.strategies.common import Novelty
from hilnas.strategies.enas.options import EnasOptions
from hilnas.strategies.gradient.table import device_table
from hilnas.tasks import Task
from hilnas.trial import Architecture, Proposal, Trial


class Enas(Strategy):
    """Proposes the nets that its search found, and mutations of them when those run out.

    It learns before the first proposal, and nothing from trials.
    """

    Options: ClassVar[type[Options]] = EnasOptions

    def __init__(self, problem: Problem, options: EnasOptions, seed: int) -> None:
        self._novelty = Novelty(problem.space, np.random.default_rng(seed))
        found = json.loads(problem.prepared) if problem.prepared else []
        self._found = [problem.space.check(Architecture.from_json(one["architecture"])) for one in found]
        self._best = float(found[0]["reward"]) if found else None

    @classmethod
    def check(cls, space: Space, objectives: Sequence[Objective], options: EnasOptions) -> None:
        """See that there is a table that fits, before anything starts. OptionsError or TableError otherwise."""
        device_table(objectives, options)

    @classmethod
    def prepare(
        cls,
        space: Space,
        task: Task,
        objectives: Sequence[Objective],
        options: EnasOptions,
        seed: int,
        threads: int,
    ) -> bytes:
        """Search, from where a checkpoint left off; return the nets found, the best first."""
        import torch

        from hilnas.strategies.enas.search import EnasSearch, nets_of

        torch.set_num_threads(threads)
        search = EnasSearch(space, task, options, seed, reward_by(space, objectives, options))
        go_on(search)
        return json.dumps(nets_of(search.found())).encode()

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Propose the next net."""
        fresh = next((net for net in self._found if net not in self._novelty), None)
        if fresh is None:
            draws = self._novelty.generator
            best = self._found[: max(1, len(self._found) // 4)]
            fresh = best[int(draws.integers(len(best)))] if best else self._novelty.space.sample(draws)
        return Proposal(self._novelty.take(fresh))

    def observe(self, trials: Sequence[Trial]) -> None:
        """Learn nothing: what is proposed is settled."""

    def diagnostics(self) -> Mapping[str, float]:
        """Return the best reward by the shared weights."""
        return {} if self._best is None else {"shared_reward": self._best}


def reward_by(space: Space, objectives: Sequence[Objective], options: EnasOptions) -> Any:
    """Return what a net of some accuracy is worth, by what can be told of it without a device.

    That is accuracy, MACs where the space tells them, and latency by a table; other objectives are for the
    measuring that follows.
    """
    table, latency = device_table(objectives, options)
    told = [o for o in objectives if o.quantity in (Quantity.ACCURACY, Quantity.MACS) or o is latency]

    def reward(net: Architecture, accuracy: float) -> float:
        values: dict[str, float] = {}
        for objective in told:
            if objective.quantity is Quantity.ACCURACY:
                values[objective.label] = accuracy
            elif objective.quantity is Quantity.MACS:
                values[objective.label] = space.features(net)["macs"] / 1e6
            elif table is not None:
                values[objective.label] = table.latency_ms([part.key for part in space.parts(net)])
        return float(rewards(told, values))

    return reward
