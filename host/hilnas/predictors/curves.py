"""Learning curves: where an accuracy that was seen for some epochs will end, and how sure that is.

    y(t) = a - b u(t) + e,   u(t) = (t / T)^-c,   e ~ N(0, s^2 + v)

is a power law (the family that Domhan et al. 2015 call pow3), with T the horizon, so that y(T) = a - b. For a
given c it is linear in a and b, whose posterior is closed; c is summed over a grid, each weighted by its
evidence. The prior of a and b is what curves that are known to the end say of them, and wide without any.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hilnas.predictors.base import Floats

EXPONENTS = np.linspace(0.15, 2.0, 16)
"""Grid of c."""
_NOISE = 0.005
"""Deviation s of an accuracy from its curve, as a share of examples."""
_PRIOR_MEAN = np.array([0.85, 0.15])
"""Of a and b, without any curve that is known to the end."""
_PRIOR_DEVIATION = np.array([0.3, 0.3])
_FAITH = 3.0
"""Curves that this prior counts as much as."""


@dataclass(frozen=True)
class Curve:
    """Accuracies [K] after numbers of epochs [K], above 0, and the variances of their errors [K]."""

    epochs: tuple[float, ...]
    accuracies: tuple[float, ...]
    variances: tuple[float, ...]


class CurveModel:
    """Extrapolates curves to `horizon` epochs, by the law and by curves that came so far."""

    def __init__(self, horizon: float, known: Sequence[Curve] = ()) -> None:
        self.horizon = horizon
        whole = [curve for curve in known if curve.epochs and curve.epochs[-1] >= horizon]
        self._priors = [self._prior(exponent, whole) for exponent in EXPONENTS]

    def predict(self, curve: Curve) -> tuple[float, float]:
        """Return mean and standard deviation of the accuracy at the horizon, noise of measuring left out.

        ValueError for a curve without points.
        """
        if not curve.epochs:
            raise ValueError("a curve without points tells nothing: give one accuracy at least")
        parts = [self._posterior(*part, curve) for part in zip(EXPONENTS, self._priors, strict=True)]
        logs = np.array([evidence for _, _, evidence in parts])
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        means, variances = (np.array([part[i] for part in parts]) for i in (0, 1))
        mean = float(weights @ means)
        variance = float(weights @ (variances + (means - mean) ** 2))
        return min(max(mean, 0.0), 1.0), float(np.sqrt(variance))

    def _prior(self, exponent: float, whole: Sequence[Curve]) -> tuple[Floats, Floats]:
        """Return mean [2] and covariance [2, 2] of a and b, given curves that are known to the end."""
        fits = [_least_squares(self._inputs(exponent, curve), np.array(curve.accuracies)) for curve in whole]
        covariance = np.diag(_PRIOR_DEVIATION**2)
        if not fits:
            return _PRIOR_MEAN, covariance
        seen = np.array(fits)
        share = len(seen) / (len(seen) + _FAITH)
        mean = share * seen.mean(0) + (1 - share) * _PRIOR_MEAN
        away = seen - mean
        return mean, share * away.T @ away / len(seen) + (1 - share) * covariance + 1e-6 * np.eye(2)

    def _posterior(
        self, exponent: float, prior: tuple[Floats, Floats], curve: Curve
    ) -> tuple[float, float, float]:
        """Return mean and variance at the horizon, and the logarithm of the evidence, for one exponent."""
        mean, covariance = prior
        inputs, seen = self._inputs(exponent, curve), np.array(curve.accuracies)
        noise = np.diag(np.array(curve.variances) + _NOISE**2)
        spread = inputs @ covariance @ inputs.T + noise
        gain = covariance @ inputs.T @ np.linalg.inv(spread)
        misfit = seen - inputs @ mean
        after, left = mean + gain @ misfit, covariance - gain @ inputs @ covariance
        end = np.array([1.0, -1.0])
        _, determinant = np.linalg.slogdet(spread)
        evidence = -0.5 * (misfit @ np.linalg.solve(spread, misfit) + determinant)
        return float(end @ after), max(float(end @ left @ end), 0.0), float(evidence)

    def _inputs(self, exponent: float, curve: Curve) -> Floats:
        shrunk = (np.array(curve.epochs, np.float64) / self.horizon) ** -exponent
        return np.stack([np.ones_like(shrunk), -shrunk], 1)


def _least_squares(inputs: Floats, seen: Floats) -> Floats:
    """Return a and b of one curve, near the prior where its points do not tell."""
    precision = np.diag(1 / _PRIOR_DEVIATION**2)
    weight = 1 / _NOISE**2
    solved: Floats = np.linalg.solve(
        precision + weight * inputs.T @ inputs, precision @ _PRIOR_MEAN + weight * inputs.T @ seen
    )
    return solved
