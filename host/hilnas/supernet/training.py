"""Training of a supernet: every step runs some of its nets, and the weights that they share learn from all.

The largest net, where it runs, learns from the labels and teaches the others of its step (in-place distillation,
Yu & Huang 2019). In progressive shrinking the teacher is the largest net as its own training left it (Cai et al.
2020). Nets of a single-path step learn from the labels. Weights that change by each other's gradients have no
statistics of their own: batch-norm uses those of the batch, and whoever takes a net out recalibrates it.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from hilnas.executors.resumable import Resumable
from hilnas.spaces import Space
from hilnas.supernet.file import space_key
from hilnas.supernet.options import SupernetTraining
from hilnas.supernet.paths import Paths
from hilnas.supernet.shared import SharedWeights
from hilnas.tasks import Split, Task
from hilnas.tasks.batches import Batches
from hilnas.tasks.resize import sized
from hilnas.tasks.training import TrainingError, cosine, parameter_groups


class Training(Resumable):
    """A training under way."""

    def __init__(self, space: Space, task: Task, options: SupernetTraining, seed: int) -> None:
        self.space, self.task, self.options, self.seed = space, task, options, seed
        self.checkpoint_s = options.checkpoint_s
        torch.manual_seed(self.seed)
        self._placement = self.options.placement
        self.weights = SharedWeights(self.space, device=self._placement.device)
        examples = self.task.split("train")
        subset = self.options.subset
        chosen: Split = examples if subset is None else examples.subset(subset, self.seed)
        self._batches = Batches(self.task, chosen, self.options.batch, self.seed)
        self.steps = self.options.epochs * self._batches.per_epoch
        self._paths = Paths(self.space, self.options.sampling, self.options.paths, self.steps, self.seed)
        module = self.weights.module
        self._optimizer = torch.optim.AdamW(
            parameter_groups(module, self.options.weight_decay), lr=self.options.learning_rate
        )
        self._teacher: SharedWeights | None = None

    def state(self) -> Mapping[str, Any]:
        """Return weights, the optimizer's state, and the teacher's weights."""
        return {
            "weights": self.weights.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "teacher": self._teacher.module.state_dict() if self._teacher is not None else None,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        teacher = state["teacher"]
        self._teacher = self._of(teacher) if teacher is not None else None
        self.weights.module.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])

    def facts(self) -> dict[str, Any]:
        """Return how it was trained, for its file; JSON."""
        return {**self.options.model_dump(mode="json"), "seed": self.seed, "steps": self.step}

    def key(self) -> str:
        """Name the training by all that it follows from."""
        task = (type(self.task).__name__, self.task.options.model_dump_json(), self.task.seed)
        # How often it is kept, and how nets are asked about later, change no weight.
        options = self.options.model_dump_json(exclude={"checkpoint_s", "recalibration", "examples", "file"})
        return repr((space_key(self.space), task, options, self.seed))

    def one_step(self) -> None:
        """Run the nets of a step. TrainingError when the loss is no longer a number."""
        phase = self._paths.phase(self.step)
        if phase > 0 and self._teacher is None and self.options.distillation > 0:
            self._teacher = self._of(self.weights.module.state_dict())
        self._set_learning_rate(phase)
        torch.manual_seed(self.seed * 1_000_003 + self.step)  # dropout
        images, labels = (part.to(self._placement.device) for part in self._batches.at(self.step))
        architectures = self._paths.at(self.step)
        soft = self._taught(images)
        self._optimizer.zero_grad(set_to_none=True)
        for architecture in architectures:
            largest = architecture == self._paths.largest
            size = self.space.input_shape(architecture)[1:]
            with self._placement.autocast():
                logits = self.weights.run(architecture, sized(images, size), dropout=largest)
                loss = self._loss(logits, labels, None if largest else soft) / len(architectures)
            if not math.isfinite(loss.item()):
                raise TrainingError(
                    f"the supernet's loss is {loss.item()} in step {self.step + 1}: lower learning_rate "
                    f"(now {self.options.learning_rate})"
                )
            loss.backward()
            if largest and soft is None and self.options.distillation > 0:
                soft = logits.detach().float().softmax(1)
        self._optimizer.step()

    def _taught(self, images: torch.Tensor) -> torch.Tensor | None:
        """Return what the teacher of a shrinking supernet says of a batch."""
        if self._teacher is None:
            return None
        largest = self._paths.largest
        size = self.space.input_shape(largest)[1:]
        with torch.no_grad(), self._placement.autocast():
            return self._teacher.run(largest, sized(images, size), dropout=False).float().softmax(1)

    def _of(self, state: Mapping[str, torch.Tensor]) -> SharedWeights:
        return SharedWeights(self.space, state, self._placement.device)

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor, soft: torch.Tensor | None) -> torch.Tensor:
        hard = functional.cross_entropy(logits, labels, label_smoothing=self.options.label_smoothing)
        if soft is None:
            return hard
        share = self.options.distillation
        return share * functional.cross_entropy(logits, soft) + (1 - share) * hard

    def _set_learning_rate(self, phase: int) -> None:
        starts = [*self._paths.starts, self.steps]
        begin, end = starts[phase], starts[phase + 1]
        factor = cosine(end - begin, self.options.warmup_share)(self.step - begin)
        for group in self._optimizer.param_groups:
            group["lr"] = self.options.learning_rate * factor
