"""A Gaussian process over architectures, its kernel's parameters learned (Rasmussen & Williams 2006, chapter 5)."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from hilnas.predictors.kernel import WIDTH, Floats, Kernel, Layout, Rows, products
from hilnas.predictors.posterior import JITTER, Posterior

_SCALAR_PRIOR = np.log([0.7, 0.3, 1e-3, 0.3, 0.5])
_SCALAR_SD = np.array([1.0, 1.5, 2.0, 1.5, 0.7])
_RELEVANCE_SD = 1.0
_EMBEDDING_SD = 0.5
_PLACE_SD = 0.1
"""Of the embedding of a choice that is a point on a line, about its place."""
_FAILED = 1e10


class GaussianProcess:
    """Regression on rows of choice indices [N, L], with optional features [N, F] of zero mean, unit scale.

    `sizes` has the number of choices of each of the L decisions, `groups` a number from 0 for each:
    decisions of one group have the same choices. `positions` holds, for each group whose choices are
    points on a line, their places [K]: neighbours are then alike from the start; else None.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        groups: Sequence[int],
        positions: Sequence[Floats | None] | None = None,
        features: int = 0,
    ) -> None:
        places: list[Floats | None] = [None] * (max(groups) + 1) if positions is None else list(positions)
        self.layout = Layout(sizes, groups, [place is not None for place in places])
        self.features = features
        self._prior, self.parameters, self._sd = self._prior_of(places)
        self.mean, self.scale = 0.0, 1.0

    def _prior_of(self, positions: list[Floats | None]) -> tuple[Floats, Floats, Floats]:
        """Return means of the parameters, where to start from, and their deviations."""
        generator = np.random.default_rng(0)  # of the model, not of a search: embeddings must not start equal
        decisions = len(self.layout.sizes)
        prior = [np.full(decisions, np.log(2.0 / decisions**0.75)), _SCALAR_PRIOR]
        sd = [np.full(decisions, _RELEVANCE_SD), _SCALAR_SD]
        start = prior.copy()
        for width, places in zip(self.layout.widths, positions, strict=True):
            centre = np.zeros((width, WIDTH))
            if places is not None:
                centre[:, 0] = places
            prior.append(centre.ravel())
            sd.append(np.full(width * WIDTH, _EMBEDDING_SD if places is None else _PLACE_SD))
            noise = 0.3 if places is None else 0.03
            start.append((centre + noise * generator.normal(size=(width, WIDTH))).ravel())
        return np.concatenate(prior), np.concatenate(start), np.concatenate(sd)

    def fit(
        self,
        rows: Rows,
        values: Floats,
        variances: Floats,
        features: Floats | None = None,
        iterations: int = 20,
    ) -> None:
        """Find the parameters for values [N] with known variances [N] of their noise; goes on from the last ones.

        They are maximum-a-posteriori, by L-BFGS on analytic gradients.
        """
        self.mean, self.scale = float(values.mean()), float(values.std()) + 1e-12
        standard = (values - self.mean) / self.scale
        arguments = (
            self.layout.onehot(rows),
            standard,
            variances / self.scale**2,
            products(features, features),
        )
        bounds = np.stack([self._prior - 6 * self._sd, self._prior + 6 * self._sd], axis=1)
        result = minimize(
            self._loss,
            self.parameters,
            args=arguments,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": iterations},
        )
        if result.fun < _FAILED:
            self.parameters = result.x

    def condition(
        self, rows: Rows, values: Floats, variances: Floats, features: Floats | None = None
    ) -> Posterior:
        """Return what is believed after values [N] with known variances [N] of their noise."""
        empty = Posterior(Kernel(self.layout, self.parameters), self.mean, self.scale)
        return empty.extend(rows, values, variances, features)

    def _loss(
        self, parameters: Floats, onehot: Floats, values: Floats, variances: Floats, linear: Floats | None
    ) -> tuple[float, Floats]:
        """Return the negative log posterior of parameters, and its gradient (ibid., eq. 5.8 and 5.9)."""
        kernel = Kernel(self.layout, parameters)
        parts = kernel.parts(onehot, onehot)
        covariance = kernel.composed(*parts, linear)
        covariance[np.diag_indices_from(covariance)] += kernel.nugget + variances + JITTER
        factor, failed = dpotrf(covariance, lower=1)
        if failed:
            return _FAILED, np.zeros_like(parameters)
        inverse = dpotri(factor, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        weights = inverse @ values
        loss = 0.5 * values @ weights + np.log(np.diag(factor)).sum()
        slope = 0.5 * (inverse - np.outer(weights, weights))  # of the loss by each entry of the covariance
        shift = (parameters - self._prior) / self._sd
        gradient = kernel.gradient(onehot, slope, *parts, linear) + shift / self._sd
        return float(loss + 0.5 * shift @ shift), gradient
