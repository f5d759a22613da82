"""Augmented batches that follow from seed and step alone, so that a training goes on exactly where it was."""

from typing import TYPE_CHECKING

from hilnas.tasks.base import Split, Task
from hilnas.tasks.training import augment

if TYPE_CHECKING:
    import torch


class Batches:
    """Batches of a split: every epoch in an order of its own, what is left of it left out."""

    def __init__(self, task: Task, split: Split, size: int, seed: int) -> None:
        self._task, self._split = task, split
        self.size, self.seed = size, seed
        self.per_epoch = max(1, len(split) // size)
        """Steps of an epoch."""

    def at(self, step: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return model inputs of the task's own size, float32 [N, C, H, W], and labels [N] of a step."""
        import torch

        epoch, number = divmod(step, self.per_epoch)
        generator = torch.Generator().manual_seed(self.seed * 7_919 + epoch)
        order = torch.randperm(len(self._split), generator=generator)
        chosen = order[number * self.size : (number + 1) * self.size].numpy()
        normalisation, options = self._task.normalisation, self._task.options
        inputs = torch.from_numpy(normalisation.apply(self._split.images[chosen]))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        inputs = augment(inputs, options.shift, options.flip, normalisation.range[0], generator)
        return inputs, torch.from_numpy(self._split.labels[chosen])


def halves(task: Task, subset: int | None, seed: int) -> tuple[Split, Split]:
    """Split the training data, or a `subset` of it, in two of equal size: for weights, and for what is above them."""
    import torch

    examples = task.split("train")
    if subset is not None:
        examples = examples.subset(subset, seed)
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).numpy()
    half = len(examples) // 2
    first, second = order[:half], order[half : 2 * half]
    return (
        Split(examples.images[first], examples.labels[first]),
        Split(examples.images[second], examples.labels[second]),
    )
