"""Compound scaling (Tan & Le 2019): a family of one base net, each member as large as its latency target lets it be.

    depth = alpha^phi,  width = beta^phi,  resolution = gamma^phi

EfficientNet chooses phi by FLOPs. Here each size is measured, since twice the FLOPs is rarely twice the latency:
phi is bracketed and then bisected on the device.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from hilnas.spaces import Space, SpaceError
from hilnas.trial import Architecture

LOWEST, HIGHEST = -8.0, 12.0
"""Between which phi is looked for: from a thirtieth of the base's operations to several thousand times as many."""


@dataclass(frozen=True)
class Compound:
    """How depth, width and resolution grow together; about twice the operations for phi = 1."""

    alpha: float = 1.2
    """Of depth."""
    beta: float = 1.1
    """Of width."""
    gamma: float = 1.15
    """Of resolution."""

    def factors(self, phi: float) -> tuple[float, float, float]:
        """Return the factors of depth, width and resolution."""
        return self.alpha**phi, self.beta**phi, self.gamma**phi


@dataclass(frozen=True)
class Member:
    """A net of the family, and what it takes."""

    phi: float
    space: Space
    architecture: Architecture
    latency_ms: float


Measure = Callable[[Space, Architecture], Awaitable[float]]
"""Returns the latency of a net in ms; infinite for one that the device cannot run."""


@dataclass
class Family:
    """Members of one base net, each size measured once."""

    space: Space
    base: Architecture
    compound: Compound
    measure: Measure
    _known: dict[str, Member] = field(default_factory=dict)

    async def largest_within(self, target_ms: float, steps: int = 7) -> Member | None:
        """Return the largest member that keeps to a target; None when not even the smallest does.

        It takes some measurements to bracket phi, and `steps` at most to halve the bracket.
        """
        low, best = 0.0, await self._member(0.0)
        if best is not None and best.latency_ms <= target_ms:
            high, width = 1.0, 1.0
            while high <= HIGHEST and (member := await self._member(high)) and member.latency_ms <= target_ms:
                low, best, width = high, member, 2 * width
                high = low + width
        else:
            high, best = 0.0, None
            while best is None and (low := high - 1.0) >= LOWEST:
                member = await self._member(low)
                best = member if member is not None and member.latency_ms <= target_ms else None
                high = high if best is not None else low
        if best is None:
            return None
        for _ in range(steps):
            middle = (low + high) / 2
            member = await self._member(middle)
            if member is not None and member.latency_ms <= target_ms:
                low = middle
                best = member if member.latency_ms >= best.latency_ms else best
            else:
                high = middle
        return best

    async def _member(self, phi: float) -> Member | None:
        """Return the member of a phi; None where it would be too small to be a net."""
        try:
            space, net = self.space.scaled(self.base, *self.compound.factors(phi))
        except SpaceError:
            return None
        key = space.structure(net)
        if key not in self._known:
            self._known[key] = Member(phi, space, net, await self.measure(space, net))
        return self._known[key]


def operations(member: Member) -> float:
    """Return the multiply-accumulate operations of a member, NaN for a space that does not tell them."""
    return float(member.space.features(member.architecture).get("macs", math.nan))
