"""How well an estimator ranks: what it said of architectures, against what they reach when trained in full."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilnas.predictors.base import rank_correlation

RESAMPLES = 2000
"""Of the bootstrap behind an interval."""


@dataclass(frozen=True)
class RankQuality:
    """Of one estimator, over the architectures for which there are both; None where there is no order."""

    count: int
    """Architectures compared."""
    kendall: float | None
    """Rank correlation, tau-b."""
    kendall_low: float | None
    """Ends of its 95 % interval: percentiles of a bootstrap over architectures."""
    kendall_high: float | None
    spearman: float | None
    top: int
    """How many of its best are looked at for the regret."""
    regret: float | None
    """What the truly best of its `top` best lacks of the best of all, as a share of examples."""


def rank_quality(
    guesses: Sequence[float], truths: Sequence[float], top: int = 3, seed: int = 0
) -> RankQuality:
    """Compare what an estimator said [N] with the truth [N], both the larger the better."""
    said, true = np.asarray(guesses, np.float64), np.asarray(truths, np.float64)
    if len(said) < 3:
        return RankQuality(len(said), None, None, None, None, top, None)
    found = rank_correlation(said, true, best=min(1.0, top / len(said)))
    low, high = _interval(said, true, seed)
    return RankQuality(
        len(said), _number(found.kendall), low, high, _number(found.spearman), top, _number(found.regret)
    )


def _interval(
    said: NDArray[np.float64], true: NDArray[np.float64], seed: int
) -> tuple[float | None, float | None]:
    from scipy.stats import kendalltau

    generator = np.random.default_rng(seed)
    taus = []
    for _ in range(RESAMPLES):
        drawn = generator.integers(len(said), size=len(said))
        taus.append(kendalltau(said[drawn], true[drawn]).statistic)
    defined = np.array(taus)[np.isfinite(taus)]
    if len(defined) < RESAMPLES / 2:
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
