"""`jacob_cov`: how unlike each other the net's answers to small changes of its inputs are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hilnas.proxies.base import NoScoreError, inputs_for, ready
from hilnas.tasks.training import Batch

if TYPE_CHECKING:
    from torch import nn

_SMALL = 1e-5
"""Added to eigenvalues, as in the paper."""


def jacob_cov(module: "nn.Module", batches: Sequence[Batch]) -> float:
    """Return -sum_i log(v_i + k) + 1 / (v_i + k), v the eigenvalues of the correlation of Jacobians (Mellor et al. 2020).

    The Jacobian of an example is the gradient of the sum of its logits by its pixels; the correlation [N, N] is
    that of the first batch's N examples, and k = 1e-5. The first version of "Neural architecture search without
    training", as Abdelfattah et al. (2021) use it. Cost: one pass forth and back, and the eigenvalues of [N, N].
    """
    import torch

    net = ready(module)
    inputs = inputs_for(net, batches[0]).clone().requires_grad_()
    (jacobians,) = torch.autograd.grad(net(inputs).sum(), inputs)
    rows = jacobians.flatten(1).double().numpy()
    if not np.isfinite(rows).all():
        raise NoScoreError("a Jacobian is not finite")
    if (rows.std(1) == 0).any():
        raise NoScoreError("an input has no influence on the logits")
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(rows)).clip(0) + _SMALL
    return -float((np.log(eigenvalues) + 1 / eigenvalues).sum())
