"""Settings of whatever asks proxies: estimator, filter, warm start."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hilnas.options import Options, nearest
from hilnas.proxies.table import PROXIES


def _names(value: Any) -> Any:
    """Take one name, several joined by +, or a list of them."""
    names = value.split("+") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(f"name a proxy, or several: {', '.join(PROXIES)}")
    for name in names:
        if name not in PROXIES:
            raise ValueError(f'there is no proxy "{name}": {nearest(str(name), PROXIES)}')
    if len(set(names)) < len(names):
        raise ValueError("a proxy is there twice")
    return tuple(names)


Proxies = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""Of the table; a recipe may write "naswot", "synflow+naswot" or ["synflow", "naswot"]."""


class ProxyOptions(Options):
    """Which proxies are asked, and about what data. Of several, the mean of the ranks that they give counts."""

    proxy: Proxies
    """synflow, jacob_cov, naswot, grad_norm, snip, zico, parameters, macs; several vote."""
    batch: int = Field(64, ge=2, le=1024)
    """Training examples of a batch; fewer for large pictures, which have to fit into memory."""
    batches: int = Field(2, ge=2, le=64)
    """Batches for zico; others look at the first alone."""


class RankOptions(ProxyOptions):
    """The same, where a candidate is ranked against a sample of its space."""

    reference: int = Field(64, ge=8)
    """Architectures drawn to be ranked against, scored once; fewer where the space has no more."""


class FilterOptions(RankOptions):
    """`[filter]`: a candidate that proxies rank low is neither measured nor estimated."""

    keep: float = Field(0.5, gt=0, lt=1)
    """Share of the space that passes, the best by the proxies."""


class WarmStartOptions(ProxyOptions):
    """`search.warm_start_proxy`: ranks of a sample, as a strategy's first guess at accuracies."""

    architectures: int = Field(256, ge=8)
    """How many are drawn and scored before the first trial."""
