"""Proxies by the gradients of the loss: `grad_norm`, `snip` and `zico`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hilnas.proxies.base import NoScoreError, loss_gradients, ready, weights
from hilnas.tasks.training import Batch

if TYPE_CHECKING:
    from torch import nn


def grad_norm(module: "nn.Module", batches: Sequence[Batch]) -> float:
    """Return sum_l |dL/dW_l|, the Euclidean norms of the gradients of each layer's weights (Abdelfattah et al. 2021).

    L is the cross-entropy of the first batch at initialisation. Cost: one pass forth and back.
    """
    return float(sum(gradient.norm() for gradient in loss_gradients(ready(module), batches[0])))


def snip(module: "nn.Module", batches: Sequence[Batch]) -> float:
    """Return sum_w |w · dL/dw| over all weights, what the loss would lose with each of them (Lee et al. 2019).

    Their connection sensitivity is for pruning; its sum ranks nets (Abdelfattah et al. 2021). L is the
    cross-entropy of the first batch at initialisation. Cost: one pass forth and back.
    """
    net = ready(module)
    gradients = loss_gradients(net, batches[0])
    return float(
        sum((w.detach().double() * g).abs().sum() for w, g in zip(weights(net), gradients, strict=True))
    )


def zico(module: "nn.Module", batches: Sequence[Batch]) -> float:
    """Return sum_l log sum_w E|g_w| / sd(g_w), with the gradients g of all batches (Li et al. 2023).

    Gradients that are large and agree over batches promise fast and sure training. As in the authors' code, the
    deviation is that of the signed gradients, divided by the number of batches, and weights whose gradients don't
    differ at all are left out. Needs two batches at least. Cost: one pass forth and back a batch.
    """
    import torch

    if len(batches) < 2:
        raise NoScoreError("zico compares the gradients of batches, and there is one only: give two at least")
    net = ready(module)
    of_batches = [loss_gradients(net, batch) for batch in batches]
    total, counted = 0.0, 0
    for layer in zip(*of_batches, strict=True):
        gradients = torch.stack(layer)
        deviation = gradients.std(0, correction=0)
        differing = deviation > 0
        if not bool((gradients.abs().mean(0)[differing] > 0).any()):
            continue
        total += float((gradients.abs().mean(0)[differing] / deviation[differing]).sum().log())
        counted += 1
    if counted == 0:
        raise NoScoreError("no gradient differs between batches")
    return total
