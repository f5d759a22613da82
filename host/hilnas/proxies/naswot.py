"""`naswot`: how well the net's pieces tell examples apart before any training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hilnas.proxies.base import NoScoreError, inputs_for, ready
from hilnas.tasks.training import Batch

if TYPE_CHECKING:
    from torch import nn


def naswot(module: "nn.Module", batches: Sequence[Batch]) -> float:
    """Return log |det K|, K_ij the number of units on the same side for examples i and j (Mellor et al. 2021, eq. 2).

    A unit's code is 1 where the input of its activation function is above 0: of ReLU, the sides of its kink. The
    paper knows no others, so: a ReLU6 has one bit, too (its upper kink lies six standard deviations out, behind a
    batch-norm), and of hard-swish, and whatever else is a bent ReLU (leaky, PReLU, ELU, SiLU, GELU), the side of 0
    is coded, though it has no such kink there. Gates (sigmoids) are not coded. K is summed over the first batch's
    examples and every call of such a function. Cost: one pass forth, and the determinant of [N, N].
    """
    import torch

    from hilnas.proxies.codes import Codes

    net = ready(module)
    with torch.no_grad(), Codes() as codes:
        net(inputs_for(net, batches[0]))
    if codes.kernel is None:
        raise NoScoreError("the net calls no activation function that can be coded")
    sign, logarithm = np.linalg.slogdet(codes.kernel.numpy())
    if sign == 0 or not np.isfinite(logarithm):
        raise NoScoreError("two examples have the same code, or codes depend on each other")
    return float(logarithm)
