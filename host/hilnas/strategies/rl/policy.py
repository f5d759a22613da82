"""An autoregressive policy: an LSTM that walks the live decisions of a space (as in ENAS, Pham et al. 2018)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hilnas.predictors.encodings import Encoder, Rows
from hilnas.trial import Choice

_CLOSED = -1e9
"""Logit of a choice that is not open: finite, so that gradients are."""


@dataclass(frozen=True)
class Draw:
    """Rows [N, L] drawn from a policy, and the natural log-probability of each decision [N, L], 0 where not live."""

    rows: Rows
    log_probabilities: NDArray[np.float64]


class Policy(nn.Module):
    """Each decision is a step: the last choice's embedding goes in, a softmax over choices comes out.

    A decision that is not live is stepped over with probability 1. The output layers start at zero,
    so the first draws are uniform. `temperature` divides the logits, `tanh` bounds them, and a share
    `epsilon` of each choice is uniform.
    """

    def __init__(self, encoder: Encoder, width: int, temperature: float, tanh: float, epsilon: float) -> None:
        super().__init__()
        self._encoder = encoder
        self._temperature = temperature
        self._tanh = tanh
        self._epsilon = epsilon
        self._width = width
        widest = max(encoder.choices)
        steps = len(encoder.choices)
        offsets = np.concatenate([[0], np.cumsum(encoder.sizes)])
        self._tokens = torch.from_numpy(1 + offsets[:-1])
        self.embedding = nn.Embedding(1 + int(offsets[-1]), width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.output = nn.Parameter(torch.zeros(steps, widest, width))
        self.bias = nn.Parameter(torch.zeros(steps, widest))
        absent = torch.arange(widest)[None] >= torch.tensor(encoder.choices)[:, None]
        self._absent = torch.where(absent, _CLOSED, 0.0)
        for parameter in (*self.embedding.parameters(), *self.lstm.parameters()):
            nn.init.uniform_(parameter, -0.1, 0.1)

    def log_probabilities(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probabilities and entropies [N, L] of rows, with gradients; 0 where not live."""
        tokens = torch.from_numpy(rows) + self._tokens
        inputs = torch.cat([torch.zeros(len(rows), 1, dtype=torch.int64), tokens[:, :-1]], 1)
        hidden, _ = self.lstm(self.embedding(inputs))
        logits = torch.einsum("nlw,lkw->nlk", hidden, self.output) + self.bias
        logs = self._log_softmax(logits, self._masks(rows))
        live = torch.from_numpy(rows < np.array(self._encoder.choices))
        index = torch.where(live, torch.from_numpy(rows), 0)
        taken = logs.gather(2, index.unsqueeze(2)).squeeze(2)
        entropies = -(logs.exp() * logs.clamp(min=-100.0)).sum(2)
        return taken * live, entropies * live

    def draw(self, count: int, generator: np.random.Generator) -> Draw:
        """Draw `count` rows. In NumPy: a step is too small for torch to be quick."""
        encoder, steps = self._encoder, len(self._encoder.choices)
        weights = {name: parameter.detach().numpy() for name, parameter in self.named_parameters()}
        rows = np.tile(np.array(encoder.choices, np.int64), (count, 1))
        logs = np.zeros((count, steps))
        tokens = np.zeros(count, np.int64)
        hidden = memory = np.zeros((count, self._width), np.float32)
        uniforms = generator.random((count, steps))
        offsets = self._tokens.numpy()
        inputs = weights["embedding.weight"] @ weights["lstm.weight_ih_l0"].T
        inputs += weights["lstm.bias_ih_l0"] + weights["lstm.bias_hh_l0"]
        recurrent = weights["lstm.weight_hh_l0"].T
        for step in range(steps):
            hidden, memory = _lstm_step(inputs[tokens] + hidden @ recurrent, memory)
            logits = hidden @ weights["output"][step].T + weights["bias"][step]
            probabilities = self._probabilities(logits, self._mask(rows, step).numpy())
            cumulative = probabilities.cumsum(1)
            index = (uniforms[:, step, None] * cumulative[:, -1:] >= cumulative).sum(1)
            live = encoder.live(rows, step)
            rows[live, step] = index[live]
            logs[live, step] = np.log(probabilities[live, index[live]])
            tokens = rows[:, step] + offsets[step]
        return Draw(rows, logs)

    def _probabilities(self, logits: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what `_log_softmax` gives the logarithm of [N, K]."""
        scaled = logits.astype(np.float64) / self._temperature
        if self._tanh > 0:
            scaled = self._tanh * np.tanh(scaled)
        powers = np.exp(scaled - scaled.max(1, keepdims=True)) * (mask == 0)
        open_ = np.broadcast_to(mask == 0, powers.shape)
        softmax = powers / powers.sum(1, keepdims=True)
        mixed: NDArray[np.float64] = (1 - self._epsilon) * softmax + self._epsilon * open_ / open_.sum(
            1, keepdims=True
        )
        return mixed

    def _log_softmax(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        logits = logits / self._temperature
        if self._tanh > 0:
            logits = self._tanh * torch.tanh(logits)
        logs = torch.log_softmax(logits + mask, -1)
        if self._epsilon == 0:
            return logs
        open_ = mask == 0
        mixed = (1 - self._epsilon) * logs.exp() + self._epsilon / open_.sum(-1, keepdim=True)
        return torch.where(open_, mixed.log(), _CLOSED)

    def _masks(self, rows: Rows) -> torch.Tensor:
        """Return [L, K], or [N, L, K] where choices narrow: -1e9 for what is not open."""
        if self._encoder.space.is_free:
            return self._absent
        return torch.stack([self._mask(rows, step) for step in range(rows.shape[1])], 1)

    def _mask(self, rows: Rows, step: int) -> torch.Tensor:
        """Return [K], or [N, K], for one decision."""
        space = self._encoder.space
        if space.is_free:
            return self._absent[step]
        decision = space.decisions[step]
        mask = torch.full((len(rows), self._absent.shape[1]), _CLOSED)
        for line, row in enumerate(rows):
            chosen: dict[str, Choice] = {
                d.name: d.choices[index]
                for d, index in zip(space.decisions[:step], row[:step].tolist(), strict=True)
                if index < len(d.choices)
            }
            if space.is_live(decision, chosen):
                for choice in space.allowed(decision, chosen):
                    mask[line, decision.choices.index(choice)] = 0.0
            else:
                mask[line, 0] = 0.0
        return mask


def _lstm_step(
    gates: NDArray[np.float32], memory: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return hidden state and memory [N, width] after one step of torch's LSTM, given its gates [N, 4 width]."""
    enter, forget, news, leave = np.split(gates, 4, axis=1)
    memory = _sigmoid(forget) * memory + _sigmoid(enter) * np.tanh(news)
    return _sigmoid(leave) * np.tanh(memory), memory


def _sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    squashed: NDArray[np.float32] = 0.5 * (1 + np.tanh(0.5 * values))
    return squashed
