"""What strategies share: fitness of trials, walks through a space, and never proposing twice."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from hilnas.objectives import Objective, losses
from hilnas.spaces import Pick, Space
from hilnas.trial import Architecture, Choice, Trial, TrialStatus

_ATTEMPTS = 100
"""Mutations, then draws, before the first new architecture in order is taken."""


def fitness(trial: Trial) -> float | None:
    """Return the reward; minus infinity for an INVALID trial, None for one that teaches nothing."""
    if trial.status is TrialStatus.INVALID:
        return -np.inf
    return trial.score.reward if trial.score is not None else None


def to_minimise(objectives: Sequence[Objective], trial: Trial) -> tuple[float, ...]:
    """Return a scored trial's losses; of a single objective the negative reward."""
    if len(objectives) > 1:
        return losses(objectives, trial)
    assert trial.score is not None
    return (-trial.score.reward,)


def random_state(generator: np.random.Generator) -> str:
    """Return the generator's state as text, for `Proposal.random_state`."""
    return json.dumps(generator.bit_generator.state)


def single_changes(
    space: Space, architecture: Architecture, pick: Pick
) -> Iterator[tuple[str, Choice, Architecture]]:
    """Yield decision, new value and architecture of every change of one decision.

    What comes to life by it, or is no longer open, is told by `pick`: so nothing is out of reach, as it
    is for `Space.neighbours`.
    """
    decisions = {decision.name: decision for decision in space.decisions}
    kept = dict(architecture.decisions)
    before: dict[str, Choice] = {}
    for name, value in architecture.decisions:
        for other in space.allowed(decisions[name], before):
            if other != value:
                yield name, other, space.complete({**kept, name: other}, pick)
        before[name] = value


def neighbourhood(space: Space, architecture: Architecture, pick: Pick) -> list[Architecture]:
    """Return the space's neighbours of an architecture and all its single changes, each once."""
    found = dict.fromkeys(space.neighbours(architecture))
    found.update(dict.fromkeys(changed for _, _, changed in single_changes(space, architecture, pick)))
    found.pop(architecture, None)
    return list(found)


def architectures(space: Space, chosen: Mapping[str, Choice] | None = None) -> Iterator[Architecture]:
    """Yield every architecture of the space, in the order of its decisions and choices."""
    chosen = chosen or {}
    decision = space.next_decision(chosen)
    if decision is None:
        yield space.architecture(chosen)
        return
    for value in space.allowed(decision, chosen):
        yield from architectures(space, {**chosen, decision.name: value})


class Novelty:
    """Remembers what was proposed, and finds something new as long as the space has it."""

    def __init__(self, space: Space, generator: np.random.Generator) -> None:
        self.space = space
        self.generator = generator
        self._proposed: set[Architecture] = set()

    def __contains__(self, architecture: Architecture) -> bool:
        """Was it proposed?"""
        return architecture in self._proposed

    def forget(self, architecture: Architecture) -> None:
        """Let it be proposed again: nothing came of it, and it was not to blame."""
        self._proposed.discard(architecture)

    def take(self, wanted: Architecture) -> Architecture:
        """Return what to propose: `wanted` if new, or near it, or drawn, or the first in order that is new."""
        architecture = next((a for a in self._alternatives(wanted) if a not in self._proposed), wanted)
        self._proposed.add(architecture)
        return architecture

    def _alternatives(self, wanted: Architecture) -> Iterator[Architecture]:
        yield wanted
        mutant = wanted
        for _ in range(_ATTEMPTS):
            mutant = self.space.mutate(mutant, self.generator)
            yield mutant
        for _ in range(_ATTEMPTS):
            yield self.space.sample(self.generator)
        yield from architectures(self.space)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep every sum in one order: sums over several threads differ in their last bits, and so would proposals."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _pools().limit(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


@cache
def _pools() -> ThreadpoolController:
    """Return the thread pools of this process' numerical libraries: finding them takes long."""
    return ThreadpoolController()
