"""What a zero-cost proxy is, and what proxies share: a net made ready, its weights, its loss and gradients."""

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hilnas.tasks.training import Batch

if TYPE_CHECKING:
    import torch
    from torch import nn

Proxy = Callable[["nn.Module", Sequence[Batch]], float]
"""Takes a fresh module, which it leaves as it is, and batches of training data at the size that the module takes;
returns a number, the larger the better. NoScoreError where there is none."""

WORST = -sys.float_info.max
"""Stands for a score that could not be computed: below all that could."""


class NoScoreError(ValueError):
    """A proxy has no number for a net; the message says why."""


@dataclass(frozen=True)
class ProxyScore:
    """What a proxy says of a net: always a finite number."""

    value: float
    reason: str = ""
    """Why it is WORST, where it is."""


def ready(module: "nn.Module", dtype: "torch.dtype | None" = None) -> "nn.Module":
    """Return a copy to be worked on: batch-norm by the batch's own statistics, no dropout, weights in `dtype`."""
    from torch import nn

    net = copy.deepcopy(module).train()
    for layer in net.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.eval()
    return net.to(dtype) if dtype is not None else net


def weights(net: "nn.Module") -> list["nn.Parameter"]:
    """Return the weights that count: those of more than one dimension, of convolutions and matrices."""
    return [p for p in net.parameters() if p.ndim > 1 and p.requires_grad]


def inputs_for(net: "nn.Module", batch: Batch) -> "torch.Tensor":
    """Return a batch's inputs in the type of the net's weights."""
    first = next(net.parameters(), None)
    return batch.inputs if first is None else batch.inputs.to(first.dtype)


def loss_gradients(net: "nn.Module", batch: Batch) -> list["torch.Tensor"]:
    """Return the gradients of the mean cross-entropy of a batch by each of `weights`, float64; 0 where unused."""
    import torch
    from torch.nn import functional

    loss = functional.cross_entropy(net(inputs_for(net, batch)), batch.labels)
    parameters = weights(net)
    if not parameters:
        raise NoScoreError("the net has no weights of more than one dimension")
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [
        torch.zeros_like(p, dtype=torch.float64) if g is None else g.double()
        for p, g in zip(parameters, found, strict=True)
    ]
