"""Architecture parameters, and the gates that they make: a weight for each choice of each decision.

- `softmax`: all choices at once, by their probability (Liu et al. 2019, DARTS, eq. 2).
- `gumbel`: softmax of perturbed logits over a temperature that falls (Wu et al. 2019, FBNet, eq. 4).
- `binary`: one drawn choice of weight 1; the gradient of the gates is that of the probabilities, straight
  through (Cai et al. 2019, ProxylessNAS, eq. 4; Bengio et al. 2013).
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from hilnas.spaces import Space
from hilnas.trial import Architecture, Choice

GateKind = Literal["softmax", "gumbel", "binary"]


class ArchitectureParameters(nn.Module):
    """A vector of logits [choices] for each decision, zero at first: every choice as probable as another."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space
        self.logits = nn.ParameterList(torch.zeros(len(d.choices)) for d in space.decisions)

    def named(self) -> dict[str, torch.Tensor]:
        """Return the logits by decision."""
        return {d.name: logits for d, logits in zip(self.space.decisions, self.logits, strict=True)}

    def probabilities(self) -> dict[str, torch.Tensor]:
        """Return the probability of each choice of each decision, with gradients."""
        return {name: logits.softmax(0) for name, logits in self.named().items()}

    def gates(self, kind: GateKind, temperature: float = 1.0) -> dict[str, torch.Tensor]:
        """Return a weight for each choice, by torch's random state; with gradients to the logits."""
        return {name: _gate(logits, kind, temperature) for name, logits in self.named().items()}

    def drawn(self) -> dict[str, torch.Tensor]:
        """Return gates of one drawn net, without gradients."""
        with torch.no_grad():
            return {name: _one_hot(logits) for name, logits in self.named().items()}

    def derived(self) -> Architecture:
        """Return the net of the most probable choices."""
        return most_probable(self.space, {name: logits.tolist() for name, logits in self.named().items()})


def most_probable(space: Space, weights: Mapping[str, list[float]]) -> Architecture:
    """Return the net that takes, decision by decision, the choice of the greatest weight that is open."""
    chosen: dict[str, Choice] = {}
    while (decision := space.next_decision(chosen)) is not None:
        by_choice = dict(zip(decision.choices, weights[decision.name], strict=True))
        chosen[decision.name] = max(space.allowed(decision, chosen), key=lambda choice: by_choice[choice])
    return space.architecture(chosen)


def _gate(logits: torch.Tensor, kind: GateKind, temperature: float) -> torch.Tensor:
    if len(logits) == 1:
        return torch.ones_like(logits)
    if kind == "softmax":
        return logits.softmax(0)
    if kind == "gumbel":
        return functional.gumbel_softmax(logits, tau=temperature, dim=0)
    soft = logits.softmax(0)
    return _one_hot(logits) + soft - soft.detach()


def _one_hot(logits: torch.Tensor) -> torch.Tensor:
    drawn = torch.multinomial(logits.softmax(0), 1)
    return functional.one_hot(drawn[0], len(logits)).to(logits.dtype)
