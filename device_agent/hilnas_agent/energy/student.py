"""Quantiles of Student's t distribution, which no library of the agent's has."""

import math

_HALVINGS = 60


def two_sided(confidence: float, freedom: int) -> float:
    """The t within which a share `confidence` of the distribution lies, for `freedom` >= 1 degrees of freedom.

    By halving: with whole degrees of freedom the share is a finite sum (Abramowitz and Stegun, 26.7.3, 26.7.4).
    """
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        angle = (low + high) / 2
        low, high = (angle, high) if _share(angle, freedom) < confidence else (low, angle)
    return math.tan(low) * math.sqrt(freedom)


def _share(angle: float, freedom: int) -> float:
    """Probability of |t| below tan(angle) * sqrt(freedom)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
