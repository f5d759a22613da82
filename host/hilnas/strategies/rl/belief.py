"""What is believed of architectures: draws of their figures, and of the rewards that follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hilnas.objectives import INVALID_REWARD, Objective, rewards

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Belief:
    """S draws of what N architectures may be like."""

    objectives: Sequence[Objective]
    values: Sequence[Floats]
    """Draws [S, N] of each objective's quantity, in its unit."""

    @cached_property
    def broken(self) -> NDArray[np.bool_]:
        """Return which draws [S, N] are beyond a limit."""
        pairs = zip(self.objectives, self.values, strict=True)
        broken: NDArray[np.bool_] = np.any([o.breaks_limit(values) for o, values in pairs], axis=0)
        return broken

    @cached_property
    def rewards(self) -> Floats:
        """Return draws [S, N] of the reward."""
        values = {o.label: v for o, v in zip(self.objectives, self.values, strict=True)}
        composed = np.array(np.broadcast_to(rewards(self.objectives, values), self.values[0].shape))
        composed[self.broken] = INVALID_REWARD
        return composed

    def __getitem__(self, rows: slice) -> "Belief":
        """Return what is believed of some rows."""
        return Belief(self.objectives, [values[:, rows] for values in self.values])

    @cached_property
    def mean(self) -> Floats:
        """Return the mean reward [N]."""
        mean: Floats = self.rewards.mean(0)
        return mean

    @cached_property
    def sd(self) -> Floats:
        """Return the reward's standard deviation [N]."""
        sd: Floats = self.rewards.std(0)
        return sd
