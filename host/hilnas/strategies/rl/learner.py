"""Policy gradients: clipped PPO (Schulman et al. 2017) or REINFORCE (Williams 1992).

Advantages are rewards less the mean of the others' (leave-one-out, Kool et al. 2019), in units of
their deviation. Rows drawn by an earlier policy weigh by the ratio of now to then, truncated at 1
(Espeholt et al. 2018): a late reward neither counts twice nor pulls the policy back.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from hilnas.options import Options
from hilnas.predictors.encodings import Rows
from hilnas.strategies.rl.policy import Policy

Floats = NDArray[np.float64]


_DECAY = 0.999
"""Share of the mean square kept with each step."""
_LONGEST = 5.0
"""Longer gradients are shortened to this."""


class GradientOptions(Options):
    """How the policy learns."""

    gradient: Literal["ppo", "reinforce"] = "ppo"
    """Clipped PPO, or REINFORCE: one step for each batch, without a clip."""
    learning_rate: float = Field(5e-3, gt=0)
    """Learning rate of Adam."""
    epochs: int = Field(2, ge=1)
    """Steps of PPO on a batch."""
    clip: float = Field(0.2, gt=0)
    """How far PPO's ratio may leave 1."""
    entropy: float = Field(0.02, ge=0)
    """Weight of the entropy bonus, for each decision, at the start."""
    final_entropy: float = Field(0.002, ge=0)
    """Weight of the entropy bonus after `entropy_updates`; linear between."""
    entropy_updates: int = Field(200, ge=1)
    """Updates over which the weight of the entropy bonus falls."""
    corrections: bool = True
    """Weigh late rewards by truncated importance ratios."""


class Learner:
    """Adam on a policy's parameters."""

    def __init__(self, policy: Policy, options: GradientOptions) -> None:
        self._policy = policy
        self._options = options
        self._optimizer = _Adam(list(policy.parameters()), options.learning_rate)
        self.version = 0
        """Number of updates."""

    def update(self, rows: Rows, rewards: Floats, log_probabilities: Floats | None = None) -> None:
        """Follow the gradient on rows [N, L] that earned rewards [N].

        They were drawn with log-probabilities [N] by an earlier policy, or just now by this one.
        """
        spread = float(rewards.std())
        if len(rows) < 2 or spread <= 1e-12:
            return
        count = len(rewards)
        advantages = torch.from_numpy((rewards - rewards.mean()) * count / (count - 1) / spread).float()
        options = self._options
        steps = options.epochs if options.gradient == "ppo" else 1
        weights = torch.ones(count)
        if options.corrections and log_probabilities is not None:
            weights = self._weights(rows, torch.from_numpy(log_probabilities).float())
            if weights.sum() ** 2 < 2 * weights.square().sum():
                return  # the policy has moved so far that fewer than two rows tell anything
        anchor: torch.Tensor | None = None
        for _ in range(steps):
            logs, entropies = self._policy.log_probabilities(rows)
            logs = logs.sum(1)
            if options.gradient == "ppo":
                anchor = logs.detach() if anchor is None else anchor
                ratio = torch.exp(logs - anchor)
                clipped = ratio.clamp(1 - options.clip, 1 + options.clip)
                gain = torch.minimum(ratio * advantages, clipped * advantages)
            else:
                gain = logs * advantages
            loss = -(weights * gain).mean() - self._entropy_weight * entropies.sum(1).mean()
            self._optimizer.step(loss)
        self.version += 1

    def state(self) -> dict[str, Any]:
        """Return what going on needs besides the policy's parameters."""
        return {"version": self.version, "steps": self._optimizer.steps, "squares": self._optimizer.squares}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.version, self._optimizer.steps = int(state["version"]), int(state["steps"])
        for square, kept in zip(self._optimizer.squares, state["squares"], strict=True):
            square.copy_(kept)

    @property
    def _entropy_weight(self) -> float:
        options = self._options
        done = min(1.0, self.version / options.entropy_updates)
        return options.entropy + done * (options.final_entropy - options.entropy)

    @torch.no_grad()
    def _weights(self, rows: Rows, behaviour: torch.Tensor) -> torch.Tensor:
        """Return truncated importance weights [N]."""
        logs, _ = self._policy.log_probabilities(rows)
        return torch.exp(logs.sum(1) - behaviour).clamp(max=1.0)


class _Adam:
    """Adam without momentum (beta1 = 0, as in TuNAS, Bender et al. 2020), gradients clipped to a norm.

    torch's own takes two seconds to import, longer than a short search's proposals.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], rate: float) -> None:
        self._parameters = parameters
        self._rate = rate
        self.squares = [torch.zeros_like(parameter) for parameter in parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, loss: torch.Tensor) -> None:
        """Go down the gradient of a loss."""
        with torch.enable_grad():
            gradients = torch.autograd.grad(loss, self._parameters)
        norm = torch.sqrt(sum((g.square().sum() for g in gradients), torch.zeros(())))
        scale = _LONGEST / torch.clamp(norm, min=_LONGEST)
        self.steps += 1
        correction = 1 - _DECAY**self.steps
        for parameter, square, gradient in zip(self._parameters, self.squares, gradients, strict=True):
            square.mul_(_DECAY).add_((scale * gradient).square(), alpha=1 - _DECAY)
            parameter.sub_(self._rate * scale * gradient / ((square / correction).sqrt() + 1e-8))
