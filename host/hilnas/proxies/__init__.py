"""Zero-cost proxies: what can be told of a net before any training. They rank, and say nothing of an accuracy."""

from hilnas.proxies.base import WORST, NoScoreError, Proxy, ProxyScore
from hilnas.proxies.reference import Reference
from hilnas.proxies.scoring import Scorer, Scores, sample, told
from hilnas.proxies.table import PROXIES, score

__all__ = [
    "PROXIES",
    "WORST",
    "NoScoreError",
    "Proxy",
    "ProxyScore",
    "Reference",
    "Scorer",
    "Scores",
    "sample",
    "score",
    "told",
]
