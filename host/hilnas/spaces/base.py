"""What a space is: an ordered list of decisions, some live only for certain values of another.

Liveness is a forest: a decision has at most one parent, which stands before it. So a strategy
that walks `next_decision` meets live decisions alone, and the points can be counted exactly.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from hilnas.errors import HilnasError
from hilnas.options import nearest
from hilnas.trial import Architecture, Choice

if TYPE_CHECKING:
    from torch import nn


Pick = Callable[[Sequence[Choice]], Choice]
"""Takes one of the choices that are open."""


class SpaceError(HilnasError, ValueError):
    """An architecture is not a point of the space, or a space is not well formed."""


@dataclass(frozen=True)
class Decision:
    """One thing to decide. With a `parent`, it is live only when that one's value is in `when`."""

    name: str
    choices: tuple[Choice, ...]
    parent: str | None = None
    when: frozenset[Choice] = frozenset()


@dataclass(frozen=True)
class BlockSummary:
    """A row of an architecture's description: what a block is, and its output [C, H, W]."""

    name: str
    kind: str
    output: tuple[int, int, int]
    details: Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """A piece of a net that stands alone: nets are chains of them, so their latencies nearly add up."""

    key: str
    """Names what is computed, on what shape: equal for equal pieces of any net of the space."""
    input_shape: tuple[int, int, int]
    """[C, H, W] of what goes in."""
    build: "Callable[[], nn.Module]" = field(compare=False, repr=False)
    """Returns a torch module with fresh weights: float32 [N, C, H, W] to what the next part takes."""


@dataclass(frozen=True)
class PartFactor:
    """One place in the chain of a net's parts: which decisions say what stands there."""

    decisions: tuple[str, ...]
    key: Callable[[tuple[Choice, ...]], str | None] = field(compare=False, repr=False)
    """Takes a choice of each, and returns the part's key; None where nothing stands there."""


@dataclass(frozen=True)
class Share:
    """Which piece of which tensor of a supernet a tensor of a built module is."""

    tensor: str
    """Key in the state dict of `Space.supernet`."""
    piece: tuple[slice, ...] = ()
    """A slice for each leading dimension; dimensions without one are whole."""


class Space(ABC):
    """A set of architectures over tasks of one input shape.

    A family derives from this class, passes its decisions on, and says how to `build` and `describe`.
    """

    def __init__(self, name: str, decisions: tuple[Decision, ...]) -> None:
        self.name = name
        self.decisions = decisions
        self._by_name = {decision.name: decision for decision in decisions}
        self._check_well_formed()

    @abstractmethod
    def build(self, architecture: Architecture) -> "nn.Module":
        """Return a torch module with fresh weights: float32 [N, C, H, W] to logits [N, classes]."""

    @abstractmethod
    def input_shape(self, architecture: Architecture) -> tuple[int, int, int]:
        """Return the [C, H, W] that the architecture's module takes."""

    @abstractmethod
    def describe(self, architecture: Architecture) -> list[BlockSummary]:
        """Return the blocks of an architecture in order, for people."""

    def parts(self, architecture: Architecture) -> list[Part]:
        """Return the pieces of an architecture in order. SpaceError for a space that does not tell."""
        raise SpaceError(f"the space {self.name} does not tell what its nets are chained of (Space.parts)")

    def every_part(self) -> Iterator[Part]:
        """Yield every piece that nets of this space can have, each once. SpaceError as in `parts`."""
        raise SpaceError(f"the space {self.name} does not list the pieces of its nets (Space.every_part)")

    def supernet(self) -> "nn.Module":
        """Return a module, fresh, whose tensors hold those of every architecture. SpaceError where there is none."""
        raise SpaceError(f"the nets of the space {self.name} don't share weights (Space.supernet)")

    def shares(self, architecture: Architecture) -> Mapping[str, Share]:
        """Say which piece of `supernet` each floating-point tensor of a built module's state dict is."""
        raise SpaceError(f"the nets of the space {self.name} don't share weights (Space.shares)")

    def relaxed(self) -> "nn.Module":
        """Return a module that runs mixtures of nets on the tensors of `supernet`, fresh, which it holds as `shared`.

        It maps float32 [N, C, H, W] of the task's size, and a mapping from decision to a weight for each choice
        [choices], to logits [N, classes]. SpaceError for a space that has none.
        """
        raise SpaceError(f"the nets of the space {self.name} cannot be mixed (Space.relaxed)")

    def extremes(self) -> tuple[Architecture, Architecture]:
        """Return the smallest and the largest architecture, between which all others lie.

        Here by the numbers that decisions take; of choices that are no numbers the first and the last.
        """
        return self.complete({}, lambda choices: _by_size(choices)[0]), self.complete(
            {}, lambda choices: _by_size(choices)[-1]
        )

    def scaled(
        self, architecture: Architecture, depth: float, width: float, resolution: float
    ) -> "tuple[Space, Architecture]":
        """Return an architecture with so many times the layers, the channels and the input size, and its own space.

        It is the only point of that space. SpaceError for a space whose nets cannot be scaled.
        """
        raise SpaceError(f"the nets of the space {self.name} cannot be scaled (Space.scaled)")

    def part_factors(self) -> list[PartFactor]:
        """Return the places in the chain of parts: for any choices their keys are those of `parts`.

        So the latency that is expected of independent choices is a sum over places. SpaceError as in `parts`.
        """
        raise SpaceError(f"the space {self.name} does not tell its parts by place (Space.part_factors)")

    @property
    def shrinking(self) -> tuple[tuple[str, ...], ...]:
        """Names of decisions that progressive shrinking sets free, group after group; all at once here."""
        return (tuple(decision.name for decision in self.decisions),)

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything besides the decisions that shapes a built module; JSON."""

    def structure(self, architecture: Architecture) -> str:
        """Name what `build` makes: equal for equal modules of any search, 64 hexadecimal digits."""
        canonical = json.dumps([self.settings, architecture.to_json()], sort_keys=True)
        return sha256(canonical.encode()).hexdigest()

    def next_decision(self, chosen: Mapping[str, Choice]) -> Decision | None:
        """Return the first live decision that `chosen` does not hold, or None when all are made."""
        for decision in self.decisions:
            if decision.name not in chosen and self.is_live(decision, chosen):
                return decision
        return None

    def is_live(self, decision: Decision, chosen: Mapping[str, Choice]) -> bool:
        """Does `decision` matter, given the values chosen so far?"""
        return decision.parent is None or chosen.get(decision.parent) in decision.when

    def allowed(self, decision: Decision, chosen: Mapping[str, Choice]) -> tuple[Choice, ...]:
        """Return the choices of a live decision that earlier ones (`chosen`) leave open: all of them here.

        A space with constraints narrows them, in the decision's order and never to nothing, and gives
        `size`, `is_free` and, where single changes are rare, `neighbours` of its own.
        """
        return decision.choices

    @property
    def is_free(self) -> bool:
        """Is every choice open whatever else is chosen, so that only liveness ties decisions?"""
        return True

    def features(self, architecture: Architecture) -> Mapping[str, float]:
        """Return what can be told of an architecture without building it, such as its MACs: name to value > 0.

        The names are the same for every architecture. They are a strategy's first guess at costs.
        """
        return {}

    def architecture(self, chosen: Mapping[str, Choice]) -> Architecture:
        """Return the architecture of complete live decisions; SpaceError names what is wrong."""
        ordered: list[tuple[str, Choice]] = []
        for decision in self.decisions:
            if not self.is_live(decision, chosen):
                if decision.name in chosen:
                    raise SpaceError(
                        f'"{decision.name}" is decided, but {self.name} asks for it only when '
                        f'"{decision.parent}" is one of {sorted(decision.when, key=str)}: leave it out'
                    )
                continue
            if decision.name not in chosen:
                raise SpaceError(f'"{decision.name}" is not decided: choose one of {list(decision.choices)}')
            value = chosen[decision.name]
            choices = self.allowed(decision, dict(ordered))
            index = _index(choices, value)
            if index is None:
                raise SpaceError(f'"{decision.name}" cannot be {value!r}: choose one of {list(choices)}')
            ordered.append((decision.name, choices[index]))
        for name in chosen:
            if name not in self._by_name:
                raise SpaceError(f'{self.name} has no decision "{name}": {nearest(name, self._by_name)}')
        return Architecture(self.name, tuple(ordered))

    def check(self, architecture: Architecture) -> Architecture:
        """Return `architecture` in canonical order; SpaceError when it is no point of this space."""
        if architecture.space != self.name:
            raise SpaceError(f"the architecture is of space {architecture.space!r}, not {self.name!r}")
        return self.architecture(dict(architecture.decisions))

    def sample(self, generator: np.random.Generator) -> Architecture:
        """Draw each live decision uniformly, in order."""
        return self.complete({}, uniform(generator))

    def mutate(self, architecture: Architecture, generator: np.random.Generator) -> Architecture:
        """Change one live decision that has a choice; what comes to life or is no longer open is drawn anew."""
        open_: list[tuple[str, list[Choice]]] = []
        before: dict[str, Choice] = {}
        for name, value in architecture.decisions:
            others = [choice for choice in self.allowed(self._by_name[name], before) if choice != value]
            if others:
                open_.append((name, others))
            before[name] = value
        if not open_:
            return architecture
        name, others = open_[int(generator.integers(len(open_)))]
        kept = dict(architecture.decisions)
        kept[name] = others[int(generator.integers(len(others)))]
        return self.complete(kept, uniform(generator))

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yield every architecture that differs in one decision, brings no other to life, and is open."""
        for name, value in architecture.decisions:
            for other in self._by_name[name].choices:
                chosen = {**dict(architecture.decisions), name: other}
                alive: dict[str, Choice] = {}
                for decision in self.decisions:  # parents first: what a dead one asked for is dead, too
                    if decision.name in chosen and self.is_live(decision, alive):
                        if chosen[decision.name] not in self.allowed(decision, alive):
                            break
                        alive[decision.name] = chosen[decision.name]
                if other != value and self.next_decision(alive) is None:
                    yield self.architecture(alive)

    @cached_property
    def size(self) -> int:
        """Number of architectures, exactly."""
        children: dict[tuple[str | None, Choice | None], list[Decision]] = {}
        for decision in self.decisions:
            for value in decision.when if decision.parent is not None else [None]:
                children.setdefault((decision.parent, value), []).append(decision)

        def count(decision: Decision) -> int:
            return sum(product(children.get((decision.name, value), [])) for value in decision.choices)

        def product(decisions: list[Decision]) -> int:
            total = 1
            for decision in decisions:
                total *= count(decision)
            return total

        return product(children.get((None, None), []))

    def complete(self, wanted: Mapping[str, Choice], pick: Pick) -> Architecture:
        """Return the architecture that takes what is `wanted`, where live and open, and what `pick` says elsewhere."""
        chosen: dict[str, Choice] = {}
        while (decision := self.next_decision(chosen)) is not None:
            choices = self.allowed(decision, chosen)
            value = wanted.get(decision.name)
            chosen[decision.name] = pick(choices) if value is None or value not in choices else value
        return self.architecture(chosen)

    def _check_well_formed(self) -> None:
        seen: dict[str, Decision] = {}
        for decision in self.decisions:
            if not decision.choices or len(set(decision.choices)) != len(decision.choices):
                raise SpaceError(f'decision "{decision.name}" needs choices, each once: {decision.choices}')
            if decision.name in seen:
                raise SpaceError(f'decision "{decision.name}" is there twice')
            if decision.parent is not None:
                parent = seen.get(decision.parent)
                if parent is None:
                    raise SpaceError(
                        f'"{decision.name}" depends on "{decision.parent}", which is not before it'
                    )
                if not decision.when <= set(parent.choices):
                    raise SpaceError(f'"{decision.name}" waits for values that "{parent.name}" never takes')
            seen[decision.name] = decision


def _by_size(choices: Sequence[Choice]) -> Sequence[Choice]:
    """Order choices by number, where all are numbers."""
    if all(isinstance(choice, int | float) for choice in choices):
        return sorted(choices, key=float)
    return choices


def _index(choices: tuple[Choice, ...], value: Choice) -> int | None:
    """Position of `value` among the choices; True is not 1 here, though Python says so."""
    for index, choice in enumerate(choices):
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return index
    return None


def uniform(generator: np.random.Generator) -> Pick:
    """Return a pick that draws uniformly."""
    return lambda choices: choices[int(generator.integers(len(choices)))]
