"""How a module is trained on a task: AdamW, one-cycle warm-up and cosine decay, label smoothing.

Deterministic for a seed on one machine and thread count: order, augmentation and dropout are drawn
from generators seeded here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from hilnas.errors import HilnasError
from hilnas.options import Options
from hilnas.tasks.base import Split, Task
from hilnas.tasks.placement import Placement, Precision
from hilnas.tasks.resize import resize

if TYPE_CHECKING:
    import torch
    from torch import nn


class TrainingOptions(Options):
    """How long and how to train."""

    epochs: int = Field(3, ge=1)
    """Passes over the training data."""
    batch: int = Field(64, ge=2)
    """Examples a step."""
    learning_rate: float = Field(4e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(0.02, ge=0)
    """AdamW's decoupled decay, on weights of more than one dimension."""
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    """Probability mass spread over all classes (Szegedy et al. 2016)."""
    warmup_share: float = Field(0.15, ge=0, lt=1)
    """Share of the steps in which the learning rate rises linearly."""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Where to compute: auto takes a GPU where there is one."""
    precision: Precision = "auto"
    """float32, or bfloat16 for products; auto is bfloat16 on a GPU."""

    @property
    def placement(self) -> Placement:
        """Return where and how precisely to compute."""
        return Placement(self.device, self.precision)


class TrainingError(HilnasError, RuntimeError):
    """Training broke down; the message says where."""


@dataclass(frozen=True)
class Batch:
    """Model inputs float32 [N, C, H, W] and labels int64 [N], in memory for a whole split."""

    inputs: "torch.Tensor"
    labels: "torch.Tensor"


def prepare(task: Task, split: Split, size: tuple[int, int]) -> Batch:
    """Resize to `size` = (height, width) and normalise, as the model card says."""
    import torch

    inputs = task.normalisation.apply(resize(split.images, size))
    return Batch(torch.from_numpy(np.ascontiguousarray(inputs)), torch.from_numpy(split.labels))


def train(
    module: "nn.Module",
    task: Task,
    data: Batch,
    options: TrainingOptions,
    seed: int,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Train `module` in place; it ends up on the processor. TrainingError when the loss is no longer a number."""
    import torch
    from torch.nn import functional

    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    placement = options.placement
    module.train().to(placement.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = max(1, len(data.labels) // options.batch)
    steps = options.epochs * batches
    optimizer = torch.optim.AdamW(parameter_groups(module, options.weight_decay), lr=options.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(steps, options.warmup_share))
    fill = float(data.inputs.min())
    for epoch in range(options.epochs):
        order = torch.randperm(len(data.labels), generator=generator)
        for number in range(batches):
            chosen = order[number * options.batch : (number + 1) * options.batch]
            inputs = augment(data.inputs[chosen], task.options.shift, task.options.flip, fill, generator)
            inputs = inputs.to(placement.device, memory_format=torch.channels_last)
            labels = data.labels[chosen].to(placement.device)
            with placement.autocast():
                logits = module(inputs)
                loss = functional.cross_entropy(logits, labels, label_smoothing=options.label_smoothing)
            if not math.isfinite(loss.item()):
                raise TrainingError(
                    f"the loss is {loss.item()} in epoch {epoch + 1}: lower learning_rate "
                    f"(now {options.learning_rate})"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        if progress is not None:
            progress((epoch + 1) / options.epochs)
    module.cpu().eval()


def recalibrate(module: "nn.Module", data: Batch, seed: int, examples: int = 2048, batch: int = 128) -> None:
    """Make the statistics of every batch-norm those of the weights as they are now (Wu & Johnson 2021, 3).

    A running average lags behind weights that change fast: after a few epochs a net that has learned
    well can be right by chance only. Their mean over some batches of training data, at most `examples`
    of them, has no such lag. Leaves the module in evaluation mode.
    """
    import torch

    norms = [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(seed))[:examples]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # the plain mean over batches
    with torch.inference_mode():
        for chosen in order.split(batch):
            if len(chosen) == batch or len(order) < batch:
                module(data.inputs[chosen].contiguous(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()


def augment(
    inputs: "torch.Tensor", shift: int, flip: bool, fill: float, generator: "torch.Generator"
) -> "torch.Tensor":
    """Shift each picture by up to `shift` pixels each way, filling with `fill`, and mirror half of them."""
    import torch
    from torch.nn import functional

    count, _, height, width = inputs.shape
    if flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        inputs = torch.where(mirrored[:, None, None, None], inputs.flip(3), inputs)
    if shift:
        padded = functional.pad(inputs, (shift,) * 4, value=fill)
        rows = torch.randint(0, 2 * shift + 1, (count, 1), generator=generator) + torch.arange(height)
        columns = torch.randint(0, 2 * shift + 1, (count, 1), generator=generator) + torch.arange(width)
        picture = torch.arange(count)
        inputs = padded.permute(0, 2, 3, 1)[
            picture[:, None, None], rows[:, :, None], columns[:, None, :]
        ].permute(0, 3, 1, 2)
    return inputs


def float_accuracy(module: "nn.Module", data: Batch) -> float:
    """Return the share of examples that the float32 module gets right."""
    import torch

    module.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(data.labels), 256):
            inputs = data.inputs[start : start + 256].contiguous(memory_format=torch.channels_last)
            right += int((module(inputs).argmax(1) == data.labels[start : start + 256]).sum())
    return right / len(data.labels)


def parameter_groups(module: "nn.Module", weight_decay: float) -> list[dict[str, object]]:
    """Return an optimizer's groups: decay is for weights of more than one dimension."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def cosine(steps: int, warmup_share: float) -> Callable[[int], float]:
    """Return step to share of the peak learning rate: a linear rise, then half a cosine down to 0."""
    warmup = max(1, round(steps * warmup_share))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return factor
