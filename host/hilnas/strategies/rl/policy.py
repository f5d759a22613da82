"""An autoregressive policy: an LSTM that walks the live decisions of a space (as in ENAS, Pham et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import nn

from hilnas.spaces import Decision, Space
from hilnas.trial import Architecture, Choice


@dataclass(frozen=True)
class Walk:
    """One pass over the live decisions: log-probabilities [T] and entropies [T], both with gradients."""

    architecture: Architecture
    log_probabilities: torch.Tensor
    entropies: torch.Tensor


class Policy(nn.Module):
    """Each live decision is a step: the last choice's embedding goes in, a softmax over choices comes out.

    The output layers start at zero, so the first proposals are uniform.
    """

    def __init__(self, space: Space, width: int, temperature: float, tanh: float) -> None:
        super().__init__()
        self.space = space
        self.temperature = temperature
        self.tanh = tanh
        self.width = width
        self.start = nn.Parameter(torch.zeros(width))
        self.cell = nn.LSTMCell(width, width)
        self.embeddings = nn.ModuleList(nn.Embedding(len(d.choices), width) for d in space.decisions)
        self.outputs = nn.ModuleList(nn.Linear(width, len(d.choices)) for d in space.decisions)
        self._position = {decision.name: i for i, decision in enumerate(space.decisions)}
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)
        for output in self.outputs:
            assert isinstance(output, nn.Linear)
            nn.init.zeros_(output.weight)
            nn.init.zeros_(output.bias)

    def sample(self, generator: torch.Generator) -> Walk:
        """Draw an architecture."""
        return self._walk(None, generator)

    def follow(self, architecture: Architecture) -> Walk:
        """Walk the decisions of a given architecture: its log-probabilities under the policy now."""
        return self._walk(architecture, None)

    def _walk(self, given: Architecture | None, generator: torch.Generator | None) -> Walk:
        chosen: dict[str, Choice] = {}
        taken: list[torch.Tensor] = []
        entropies: list[torch.Tensor] = []
        step = self.start.unsqueeze(0)
        hidden = torch.zeros(1, self.width)
        memory = torch.zeros(1, self.width)
        while (decision := self.space.next_decision(chosen)) is not None:
            hidden, memory = self.cell(step, (hidden, memory))
            position = self._position[decision.name]
            log_softmax = self._log_softmax(position, hidden)
            index = self._index(decision, given, log_softmax, generator)
            taken.append(log_softmax[index])
            entropies.append(-(log_softmax.exp() * log_softmax).sum())
            step = self.embeddings[position](torch.tensor([index]))
            chosen[decision.name] = decision.choices[index]
        return Walk(self.space.architecture(chosen), torch.stack(taken), torch.stack(entropies))

    def _log_softmax(self, position: int, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.outputs[position](hidden)[0] / self.temperature
        if self.tanh > 0:
            logits = self.tanh * torch.tanh(logits)
        return torch.log_softmax(logits, dim=0)

    @staticmethod
    def _index(
        decision: Decision,
        given: Architecture | None,
        log_softmax: torch.Tensor,
        generator: torch.Generator | None,
    ) -> int:
        if given is not None:
            return decision.choices.index(given[decision.name])
        return int(torch.multinomial(log_softmax.detach().exp(), 1, generator=generator))
