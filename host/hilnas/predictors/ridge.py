"""Bayesian ridge regression in closed form (Bishop 2006, sections 3.3 and 3.5).

    y = m + X w + e,   w ~ N(0, s^2 / strength),   e_n ~ N(0, s^2 + v_n)

with a flat prior on m. The strength is that of the largest evidence, with s^2 at its maximum.
"""

from collections.abc import Sequence

import numpy as np

from hilnas.predictors.base import LEAST_SCALE, Floats, checked

STRENGTHS = tuple(np.logspace(-4, 5, 37).tolist())
"""Where the evidence is looked for its maximum, for inputs of about unit scale."""


class BayesianRidge:
    """A linear predictor. Inputs are taken as they are: bring them to one scale.

    `noise` is a first guess at s, which counts as much as `faith` rows.
    """

    def __init__(
        self, strengths: Sequence[float] = STRENGTHS, noise: float = 0.0, faith: float = 0.0
    ) -> None:
        self.guess = noise
        self.faith = faith
        self.strengths = np.array(strengths, np.float64)
        self.strength = float(self.strengths[0])
        """The one chosen."""
        self.weights = np.zeros(0)
        """Of inputs [D]."""
        self.noise = 0.0
        """Standard deviation of what the inputs do not explain: s."""

    def fit(self, inputs: Floats, values: Floats, variances: Floats | None = None) -> None:
        """Learn values [N] of inputs [N, D]; twice where noise is known, since its share in s is not."""
        points, figures, known = checked(inputs, values, variances)
        self._solve(points, figures, np.ones(len(points)))
        if known.any() and len(points) > 1:
            # What is left over holds the noise too, so that its mean is the most of s^2 that is the measuring's.
            own = max(self.noise**2 - known.mean(), 0.01 * self.noise**2) + LEAST_SCALE**2
            self._solve(points, figures, own / (own + known))

    def _solve(self, points: Floats, figures: Floats, shares: Floats) -> None:
        """Fit with rows counting `shares` [N] of one without noise."""
        total = shares.sum()
        self._centre, self._mean = shares @ points / total, float(shares @ figures / total)
        rooted = np.sqrt(shares)
        rotated = _Rotated(rooted[:, None] * (points - self._centre), rooted * (figures - self._mean))
        self.strength = float(self.strengths[np.argmax(rotated.evidence(self.strengths))])
        shrunk = rotated.scales / (rotated.scales**2 + self.strength)
        self.weights = (shrunk * rotated.targets) @ rotated.axes
        freedom = len(points) - 1
        surprise = float(rotated.misfits(np.array([self.strength]))[0]) + self.faith * self.guess**2
        self.noise = float(np.sqrt(surprise / (freedom + self.faith))) if freedom + self.faith else np.inf
        self._axes, self._total = rotated.axes, total
        self._learned = 1 / self.strength - 1 / (rotated.scales**2 + self.strength)

    def predict(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Return means and standard deviations [M]; s is part of the deviation, noise of measuring is not."""
        away = np.asarray(inputs, np.float64) - self._centre
        mean = self._mean + away @ self.weights
        unknown = (away**2).sum(1) / self.strength - (away @ self._axes.T) ** 2 @ self._learned
        return mean, self.noise * np.sqrt(1 + 1 / self._total + np.maximum(unknown, 0.0))


def log_evidence(inputs: Floats, values: Floats, strengths: Floats) -> Floats:
    """Return the logarithm of the evidence of each strength [S], up to a constant, s^2 at its maximum."""
    return _Rotated(inputs - inputs.mean(0), values - values.mean()).evidence(strengths)


class _Rotated:
    """Centred inputs and values in the inputs' principal axes, where every strength is quickly tried."""

    def __init__(self, points: Floats, figures: Floats) -> None:
        left, self.scales, self.axes = np.linalg.svd(points, full_matrices=False)
        self.targets = left.T @ figures
        self._beyond = max(float(figures @ figures - self.targets @ self.targets), 0.0)
        self._freedom = len(figures) - 1
        self._least = LEAST_SCALE**2 * max(len(figures), 1)

    def misfits(self, strengths: Floats) -> Floats:
        """Return y' (I + X X' / strength)^-1 y of each strength [S]; over the degrees of freedom that is s^2."""
        shares = strengths[:, None] / (self.scales**2 + strengths[:, None])
        misfits: Floats = shares @ self.targets**2 + self._beyond + self._least
        return misfits

    def evidence(self, strengths: Floats) -> Floats:
        """Return the logarithm of the evidence of each strength [S], up to a constant."""
        widths = np.log1p(self.scales**2 / strengths[:, None]).sum(1)
        evidence: Floats = -0.5 * (widths + self._freedom * np.log(self.misfits(strengths)))
        return evidence
