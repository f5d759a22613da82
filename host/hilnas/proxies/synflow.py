"""`synflow`: how much flows through a net along all its paths, whatever the data."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hilnas.proxies.base import NoScoreError, ready, weights
from hilnas.tasks.training import Batch

if TYPE_CHECKING:
    from torch import nn


def synflow(module: "nn.Module", batches: Sequence[Batch]) -> float:
    """Return log sum_w |w · dR/dw|, R the sum of logits for an input of ones and weights |w| (Tanaka et al. 2020).

    As a proxy by Abdelfattah et al. (2021). Norms are left out; ReLU6 and hard-swish count as the ReLU that they
    bound, or a net would be saturated after a layer or two; gates stay, and are open. In float64: the sums are
    products over layers. No data is looked at, the batch gives the input's shape. Cost: one pass forth and back
    of one example, twice as dear as in float32.
    """
    import torch

    from hilnas.proxies.linearised import Linearised

    net = ready(module, torch.float64).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    ones = torch.ones(1, *batches[0].inputs.shape[1:], dtype=torch.float64)
    parameters = weights(net)
    with Linearised():
        flow = net(ones).sum()
    if not parameters or not flow.requires_grad:
        raise NoScoreError("the logits depend on no weights")
    gradients = torch.autograd.grad(flow, parameters, allow_unused=True)
    total = sum(
        float((w.detach() * g).abs().sum())
        for w, g in zip(parameters, gradients, strict=True)
        if g is not None
    )
    if not 0 < total < math.inf:
        raise NoScoreError(f"the flow is {total}: it ran dry, or out of float64's range")
    return math.log(total)
