"""The proxies by name."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hilnas.proxies.base import WORST, NoScoreError, Proxy, ProxyScore
from hilnas.proxies.gradients import grad_norm, snip, zico
from hilnas.proxies.jacobian import jacob_cov
from hilnas.proxies.naswot import naswot
from hilnas.proxies.size import macs, parameters
from hilnas.proxies.synflow import synflow
from hilnas.tasks.training import Batch

if TYPE_CHECKING:
    from torch import nn

PROXIES: Mapping[str, Proxy] = {
    "synflow": synflow,
    "jacob_cov": jacob_cov,
    "naswot": naswot,
    "grad_norm": grad_norm,
    "snip": snip,
    "zico": zico,
    "parameters": parameters,
    "macs": macs,
}


def score(name: str, module: "nn.Module", batches: Sequence[Batch]) -> ProxyScore:
    """Return what a proxy says of a fresh module, which is left as it is; WORST where it has no finite number."""
    try:
        value = PROXIES[name](module, batches)
    except NoScoreError as error:
        return ProxyScore(WORST, str(error))
    if not math.isfinite(value):
        return ProxyScore(WORST, f"{name} is {value}")
    return ProxyScore(value)
