"""The honest baselines: `parameters` and `macs`. Many a proxy ranks no better."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hilnas.proxies.base import inputs_for, ready
from hilnas.tasks.training import Batch

if TYPE_CHECKING:
    from torch import nn


def parameters(module: "nn.Module", batches: Sequence[Batch]) -> float:
    """Return the number of trainable parameters. Costs nothing but the module."""
    return float(sum(p.numel() for p in module.parameters() if p.requires_grad))


def macs(module: "nn.Module", batches: Sequence[Batch]) -> float:
    """Return the multiply-accumulate operations of one inference, of convolutions and matrices.

    Counted as torch runs them, so for any module. Cost: one pass forth of one example, and seconds for the first
    count of a process, for which torch imports its compiler.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    net = ready(module).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        net(inputs_for(net, batches[0])[:1])
    return float(counted.get_total_flops() / 2)
