"""The bilevel search: weights learn from one half of the training data, architecture parameters from the other.

    min over a of L_val(w*(a), a) + latency term,  w*(a) = argmin over w of L_train(w, a)      (Liu et al. 2019, eq. 3, 4)

First order takes the weights as they are for w*. Second order takes one virtual step of them, and follows the
gradient through it, with a finite difference for the product of Hessian and vector (eq. 7, 8).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from hilnas.executors.resumable import Resumable
from hilnas.spaces import Space
from hilnas.strategies.gradient.gates import ArchitectureParameters
from hilnas.strategies.gradient.latency import ExpectedLatency
from hilnas.strategies.gradient.options import BilevelOptions
from hilnas.tasks import Task
from hilnas.tasks.batches import Batches, halves
from hilnas.tasks.training import TrainingError, cosine, parameter_groups

REACH = 0.01
"""Length of the finite difference's step in the space of weights (Liu et al. 2019, footnote 2)."""


class GradientSearch(Resumable):
    """A search under way. It follows from seed and step alone, so that it goes on exactly."""

    def __init__(
        self,
        space: Space,
        task: Task,
        options: BilevelOptions,
        seed: int,
        latency: ExpectedLatency | None,
        target_ms: float | None,
    ) -> None:
        torch.manual_seed(seed)
        self.space, self.task, self.options, self.seed = space, task, options, seed
        self.latency, self.target_ms = latency, target_ms
        self._placement = options.placement
        self.mixture = space.relaxed().to(self._placement.device)
        self.parameters = ArchitectureParameters(space).to(self._placement.device)
        train, held = halves(task, options.subset, seed)
        self._train = Batches(task, train, options.batch, seed)
        self._held = Batches(task, held, options.batch, seed + 1)
        self.steps = options.epochs * self._train.per_epoch
        self._weights_by = torch.optim.AdamW(
            parameter_groups(self.mixture, options.weight_decay), lr=options.learning_rate
        )
        self._parameters_by = torch.optim.Adam(
            self.parameters.parameters(),
            lr=options.architecture_rate,
            betas=(0.5, 0.999),
            weight_decay=options.architecture_decay,
        )

    def expected_ms(self) -> float | None:
        """Return the latency expected of the distribution as it is."""
        if self.latency is None:
            return None
        with torch.no_grad():
            return float(self.latency(self.parameters.probabilities()))

    def state(self) -> Mapping[str, Any]:
        """Return weights, architecture parameters, and both optimizers' states."""
        return {
            "weights": self.mixture.state_dict(),
            "parameters": self.parameters.state_dict(),
            "weights_by": self._weights_by.state_dict(),
            "parameters_by": self._parameters_by.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.mixture.load_state_dict(state["weights"])
        self.parameters.load_state_dict(state["parameters"])
        self._weights_by.load_state_dict(state["weights_by"])
        self._parameters_by.load_state_dict(state["parameters_by"])

    def key(self) -> str:
        """Name the search by all that it follows from."""
        decisions = [(d.name, [str(choice) for choice in d.choices]) for d in self.space.decisions]
        task = (type(self.task).__name__, self.task.options.model_dump_json(), self.task.seed)
        return repr((decisions, task, self.options.model_dump_json(), self.seed, self.target_ms))

    def one_step(self) -> None:
        """Let the architecture parameters learn, and then the weights."""
        options = self.options
        torch.manual_seed(self._state)
        train, held = (self._placed(half) for half in (self._train, self._held))
        rate = options.learning_rate * cosine(self.steps, options.warmup_share)(self.step)
        for group in self._weights_by.param_groups:
            group["lr"] = rate
        if self.step >= options.frozen_share * self.steps:
            self._learn_parameters(train, held, rate)
        self._weights_by.zero_grad(set_to_none=True)
        loss = self._loss(train, self._gates(learning=False))
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"the loss of the mixture is {loss.item()} in step {self.step + 1}: lower learning_rate "
                f"(now {options.learning_rate})"
            )
        loss.backward()
        self._weights_by.step()

    def _placed(self, half: Batches) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = half.at(self.step)
        return images.to(self._placement.device), labels.to(self._placement.device)

    def _learn_parameters(
        self, train: tuple[torch.Tensor, torch.Tensor], held: tuple[torch.Tensor, torch.Tensor], rate: float
    ) -> None:
        self._parameters_by.zero_grad(set_to_none=True)
        if self.options.order == 2:
            self._second_order(train, held, rate)
        else:
            self._loss(held, self._gates(learning=True)).backward()
        self._latency_term().backward()
        self._parameters_by.step()

    def _second_order(
        self, train: tuple[torch.Tensor, torch.Tensor], held: tuple[torch.Tensor, torch.Tensor], rate: float
    ) -> None:
        """Leave in the parameters' gradients those of the loss after a virtual step of the weights.

        All passes draw the same gates and the same dropout: a difference must be that of the weights.
        """
        weights = list(self.mixture.parameters())
        before = [weight.detach().clone() for weight in weights]
        loss = self._redrawn(train, learning=False)
        for weight, slope in zip(weights, _gradients(loss, weights), strict=True):
            weight.data.sub_(rate * slope)
        self._parameters_by.zero_grad(set_to_none=True)
        loss = self._redrawn(held, learning=True)
        vector = _gradients(loss, weights, keep=True)
        loss.backward(inputs=list(self.parameters.parameters()))
        step = REACH / max(1e-12, math.sqrt(sum(float((v * v).sum()) for v in vector)))
        sides = []
        for sign in (1.0, -1.0):
            for weight, old, direction in zip(weights, before, vector, strict=True):
                weight.data.copy_(old + sign * step * direction)
            sides.append(_gradients(self._redrawn(train, learning=True), list(self.parameters.parameters())))
        for weight, old in zip(weights, before, strict=True):
            weight.data.copy_(old)
        for parameter, plus, minus in zip(self.parameters.parameters(), *sides, strict=True):
            if parameter.grad is not None:
                parameter.grad.sub_(rate * (plus - minus) / (2 * step))

    @property
    def _state(self) -> int:
        """Seed of all that is drawn in a step."""
        return self.seed * 1_000_003 + self.step

    def _redrawn(self, batch: tuple[torch.Tensor, torch.Tensor], learning: bool) -> torch.Tensor:
        torch.manual_seed(self._state)
        return self._loss(batch, self._gates(learning))

    def _gates(self, learning: bool) -> Mapping[str, torch.Tensor]:
        """Return the gates of a pass, with gradients where architecture parameters learn from it."""
        kind = self.options.gates
        if not learning and kind == "binary":
            return self.parameters.drawn()
        share = self.step / max(1, self.steps - 1)
        temperature = self.options.temperature * (0.1**share)
        gates = self.parameters.gates(kind, temperature)
        return gates if learning else {name: gate.detach() for name, gate in gates.items()}

    def _loss(
        self, batch: tuple[torch.Tensor, torch.Tensor], gates: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        images, labels = batch
        with self._placement.autocast():
            logits = self.mixture(images, gates)
            return functional.cross_entropy(logits, labels, label_smoothing=self.options.label_smoothing)

    def _latency_term(self) -> torch.Tensor:
        """Return what latency costs: `latency_weight` for each power of e beyond the target."""
        probabilities = self.parameters.probabilities()
        if self.latency is None or self.target_ms is None:
            return sum(p.sum() for p in probabilities.values()) * torch.zeros(())
        beyond = torch.log(self.latency(probabilities).clamp_min(1e-6) / self.target_ms)
        return self.options.latency_weight * (beyond.abs() if self.options.absolute else beyond.relu())


def _gradients(loss: torch.Tensor, of: Sequence[torch.Tensor], keep: bool = False) -> list[torch.Tensor]:
    found = torch.autograd.grad(loss, of, retain_graph=keep, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g.detach() for x, g in zip(of, found, strict=True)]
