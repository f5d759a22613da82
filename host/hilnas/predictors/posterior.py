"""What a Gaussian process believes after some rows, and what it predicts of others."""

import numpy as np
from scipy.linalg.lapack import dpotrf, dtrtri

from hilnas.predictors.kernel import Floats, Kernel, Rows

JITTER = 1e-8
"""Added to the diagonal of every covariance, in units of the values' variance."""


class Posterior:
    """A belief; immutable, and cheap to extend: O(N^2) for a row.

    It keeps the inverse of the covariance's Cholesky factor. `mean` and `scale` are those by which
    values were standardised when the kernel was learned.
    """

    def __init__(self, kernel: Kernel, mean: float, scale: float) -> None:
        self._kernel = kernel
        self._mean = mean
        self._scale = scale
        self._onehots = np.zeros((0, sum(kernel.layout.sizes)))
        self._features: Floats | None = None
        self._inverse = np.zeros((0, 0))
        self._targets = np.zeros(0)
        self._noise = np.zeros(0)
        self._weights = np.zeros(0)

    def __len__(self) -> int:
        return len(self._targets)

    def extend(
        self, rows: Rows, values: Floats, variances: Floats, features: Floats | None = None
    ) -> "Posterior":
        """Return the belief after more rows [N, L] with values [N] and known variances [N] of their noise.

        numpy.linalg.LinAlgError where rounding has made the covariance indefinite.
        """
        kernel = self._kernel
        onehots = kernel.layout.onehot(rows)
        noise = variances / self._scale**2
        inner = kernel.covariance(onehots, onehots, features, features)
        inner[np.diag_indices_from(inner)] += kernel.nugget + noise + JITTER
        explained = self._inverse @ kernel.covariance(self._onehots, onehots, self._features, features)
        corner, failed = dpotrf(inner - explained.T @ explained, lower=1)
        if failed:
            raise np.linalg.LinAlgError("the covariance of the rows is not positive definite")
        corner = dtrtri(np.tril(corner), lower=1)[0]
        known, more = len(self), len(rows)
        inverse = np.zeros((known + more, known + more))
        inverse[:known, :known] = self._inverse
        inverse[known:, :known] = -corner @ explained.T @ self._inverse
        inverse[known:, known:] = corner
        longer = Posterior(kernel, self._mean, self._scale)
        longer._onehots = np.concatenate([self._onehots, onehots])
        if features is not None:
            longer._features = (
                features if self._features is None else np.concatenate([self._features, features])
            )
        longer._inverse = inverse
        longer._targets = np.concatenate([self._targets, (values - self._mean) / self._scale])
        longer._noise = np.concatenate([self._noise, noise])
        longer._weights = inverse.T @ (inverse @ longer._targets)
        return longer

    def believing(self, rows: Rows, features: Floats | None = None) -> "Posterior":
        """Return the belief as if rows had come out as predicted: their surroundings become less uncertain."""
        if not len(rows):
            return self
        return self.extend(rows, self.mean(rows, features), np.zeros(len(rows)), features)

    def predict(self, rows: Rows, features: Floats | None = None) -> tuple[Floats, Floats]:
        """Return means and standard deviations [M] of architectures' own values, without noise of measuring.

        The nugget is part of the deviation: it is what no smooth function of the choices explains.
        """
        cross = self._cross(rows, features)
        explained = self._inverse @ cross
        variance = np.maximum(self._kernel.prior(features, len(rows)) - (explained**2).sum(0), 1e-12)
        return self._mean + self._scale * (cross.T @ self._weights), self._scale * np.sqrt(variance)

    def mean(self, rows: Rows, features: Floats | None = None) -> Floats:
        """Return means [M] alone: far cheaper than `predict`."""
        onehots = self._kernel.layout.onehot(rows)
        applied = self._kernel.applied(self._onehots, onehots, self._weights, self._features, features)
        mean: Floats = self._mean + self._scale * applied
        return mean

    def standard_mean(self, rows: Rows) -> Floats:
        """Return means [M] in units of the known values' deviation, about their mean: an input for others."""
        standard: Floats = (self.mean(rows) - self._mean) / self._scale
        return standard

    def smoothed(self) -> tuple[Floats, Floats]:
        """Return means and deviations [N] of the known rows' own values: what was measured, less its noise."""
        mean = self._mean + self._scale * (self._targets - self._noise * self._weights)
        if not self._noise.any():
            return mean, np.zeros(len(self))
        precision = (self._inverse**2).sum(0)  # the diagonal of the covariance's inverse
        variance = np.maximum(self._noise - self._noise**2 * precision, 0.0)
        return mean, self._scale * np.sqrt(variance)

    def _cross(self, rows: Rows, features: Floats | None) -> Floats:
        """Return the covariance [N, M] of what is known with other rows."""
        onehots = self._kernel.layout.onehot(rows)
        return self._kernel.covariance(self._onehots, onehots, self._features, features)
