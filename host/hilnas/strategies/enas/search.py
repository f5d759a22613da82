"""The search of ENAS: in each epoch the shared weights learn on nets that the policy draws, then the policy on them.

The weights of a step are those of one drawn net, with the labels of one half of the training data; the policy's
reward is a net's accuracy on a batch of the other half, by the batch's own statistics, with what its latency and
its size cost (Pham et al. 2018, 2.2). The policy gradient is that of the strategy `rl`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hilnas.executors.resumable import Resumable
from hilnas.predictors.encodings import Encoder
from hilnas.spaces import Space
from hilnas.strategies.common import one_thread
from hilnas.strategies.enas.options import EnasOptions
from hilnas.strategies.rl.learner import Learner
from hilnas.strategies.rl.policy import Policy
from hilnas.supernet.shared import SharedWeights
from hilnas.tasks import Task
from hilnas.tasks.batches import Batches, halves
from hilnas.tasks.resize import sized
from hilnas.tasks.training import TrainingError, cosine, parameter_groups
from hilnas.trial import Architecture

RewardOf = Callable[[Architecture, float], float]
"""What a net of some accuracy is worth."""


@dataclass(frozen=True)
class Found:
    """A net that the policy drew in the end, and its reward by the shared weights."""

    architecture: Architecture
    reward: float


class EnasSearch(Resumable):
    """A search under way; a step of it is an epoch."""

    def __init__(
        self, space: Space, task: Task, options: EnasOptions, seed: int, reward_of: RewardOf
    ) -> None:
        torch.manual_seed(seed)
        self.space, self.options, self.seed = space, options, seed
        self._task, self._reward_of = task, reward_of
        self._placement = options.placement
        self.weights = SharedWeights(space, device=self._placement.device)
        self._encoder = Encoder(space)
        self.policy = Policy(self._encoder, options.width, 1.0, options.tanh, 0.0)
        self._learner = Learner(self.policy, options)
        train, held = halves(task, options.subset, seed)
        self._train = Batches(task, train, options.batch, seed)
        self._held = Batches(task, held, options.reward_batch, seed + 1)
        self._optimizer = torch.optim.AdamW(
            parameter_groups(self.weights.module, options.weight_decay), lr=options.weights_rate
        )
        self.steps = options.weights_epochs

    def one_step(self) -> None:
        """Let the weights learn for an epoch, and then the policy."""
        generator = np.random.default_rng((self.seed, self.step))
        torch.manual_seed(self.seed * 1_000_003 + self.step)
        self._train_weights(generator)
        if self.step >= self.options.frozen_share * self.steps:
            self._train_policy(generator)

    def found(self) -> list[Found]:
        """Return `draws` different nets of the policy, the best first by their rewards on several batches."""
        generator = np.random.default_rng((self.seed, self.options.weights_epochs))
        rows = self._draw(2 * self.options.draws, generator)
        nets = list(dict.fromkeys(self._encoder.decode(row) for row in rows))[: self.options.draws]
        with torch.no_grad():
            rewards = [
                float(np.mean([self._reward(net, step) for step in range(self.options.final_batches)]))
                for net in nets
            ]
        order = sorted(range(len(nets)), key=lambda place: (-rewards[place], place))
        return [Found(nets[place], rewards[place]) for place in order]

    def state(self) -> Mapping[str, Any]:
        """Return weights, policy, and both optimizers' states."""
        return {
            "weights": self.weights.module.state_dict(),
            "policy": self.policy.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "learner": self._learner.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.weights.module.load_state_dict(state["weights"])
        self.policy.load_state_dict(state["policy"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._learner.load_state(state["learner"])

    def key(self) -> str:
        """Name the search by all that it follows from."""
        decisions = [(d.name, [str(choice) for choice in d.choices]) for d in self.space.decisions]
        task = (type(self._task).__name__, self._task.options.model_dump_json(), self._task.seed)
        return repr((decisions, task, self.options.model_dump_json(), self.seed))

    def _draw(self, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        with one_thread():
            return self.policy.draw(count, generator).rows

    def _train_weights(self, generator: np.random.Generator) -> None:
        steps = self._train.per_epoch
        rows = self._draw(steps, generator)
        rate = cosine(self.options.weights_epochs * steps, self.options.warmup_share)
        for number in range(steps):
            step = self.step * steps + number
            for group in self._optimizer.param_groups:
                group["lr"] = self.options.weights_rate * rate(step)
            images, labels = self._placed(self._train, step)
            net = self._encoder.decode(rows[number])
            with self._placement.autocast():
                logits = self.weights.run(net, sized(images, self.space.input_shape(net)[1:]))
                loss = functional.cross_entropy(logits, labels, label_smoothing=self.options.label_smoothing)
            if not math.isfinite(loss.item()):
                raise TrainingError(
                    f"the loss of the shared weights is {loss.item()} in epoch {self.step + 1}: "
                    f"lower weights_rate (now {self.options.weights_rate})"
                )
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()

    def _train_policy(self, generator: np.random.Generator) -> None:
        for number in range(self.options.policy_steps):
            rows = self._draw(self.options.policy_batch, generator)
            step = self.step * self.options.policy_steps + number
            with torch.no_grad():
                rewards = np.array([self._reward(self._encoder.decode(row), step) for row in rows])
            with one_thread():
                self._learner.update(rows, rewards)

    def _placed(self, batches: Batches, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = batches.at(step)
        return images.to(self._placement.device), labels.to(self._placement.device)

    def _reward(self, net: Architecture, step: int) -> float:
        """Return what a net is worth by a batch of held data; the batch is the same for all nets of a step."""
        images, labels = self._placed(self._held, step)
        with self._placement.autocast():
            logits = self.weights.run(net, sized(images, self.space.input_shape(net)[1:]), dropout=False)
        return self._reward_of(net, float((logits.argmax(1) == labels).double().mean()))


def nets_of(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Return what was found as JSON."""
    return [{"architecture": one.architecture.to_json(), "reward": one.reward} for one in found]
