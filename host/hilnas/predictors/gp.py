"""A Gaussian process over architectures: categorical decisions with learned embeddings of their choices.

Kernel of two rows x, x' of choices, with D_l = h [x_l != x'_l] + |e(x_l) - e(x'_l)|:

    k = a exp(-sum_l t_l D_l) + b sum_l w_l exp(-2 D_l) + c f.f',   w = t / sum t

The product part sees interactions, the additive one generalises from few rows, the linear one
takes static features. Decisions with the same choices share their embeddings, so what one layer
teaches of an operation holds for all. Relevances t, scales, embeddings and the nugget are
maximum-a-posteriori by L-BFGS on analytic gradients (Rasmussen & Williams 2006, eq. 5.9).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

_WIDTH = 2
"""Dimensions of a choice's embedding."""
_SCALARS = 5
"""Parameters beside relevances and embeddings: a, b, nugget, c, h; all as logarithms."""
_SCALAR_PRIOR = np.log([0.7, 0.3, 1e-3, 0.3, 0.5])
_SCALAR_SD = np.array([1.0, 1.5, 2.0, 1.5, 0.7])
_RELEVANCE_SD = 1.0
_EMBEDDING_SD = 0.5
_PLACE_SD = 0.1
_TINY = 1e-6
_JITTER = 1e-8
_FAILED = 1e10


@dataclass(frozen=True)
class _Kernel:
    """The parameters, unpacked."""

    relevance: Floats
    product: float
    additive: float
    nugget: float
    linear: float
    hamming: float
    embeddings: list[Floats]


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
        self.sizes = list(sizes)
        self.groups = list(groups)
        self.features = features
        self._offsets = np.concatenate([[0], np.cumsum(self.sizes)])
        count = max(groups) + 1
        self._widths = [
            max(s for s, g in zip(sizes, groups, strict=True) if g == group) for group in range(count)
        ]
        places: list[Floats | None] = list(positions) if positions is not None else [None] * count
        self._apart = [float(place is None) for place in places]
        self._prior, self._start, self._sd = self._prior_of(places)
        self.parameters = self._start.copy()
        self.mean, self.scale = 0.0, 1.0

    def _prior_of(self, positions: list[Floats | None]) -> tuple[Floats, Floats, Floats]:
        """Return means of the parameters, where to start from, and their deviations."""
        generator = np.random.default_rng(0)  # of the model, not of a search: embeddings must not start equal
        decisions = len(self.sizes)
        prior = [np.full(decisions, np.log(2.0 / decisions**0.75)), _SCALAR_PRIOR]
        sd = [np.full(decisions, _RELEVANCE_SD), _SCALAR_SD]
        start = prior.copy()
        for width, places in zip(self._widths, positions, strict=True):
            centre = np.zeros((width, _WIDTH))
            if places is not None:
                centre[:, 0] = places
            prior.append(centre.ravel())
            sd.append(np.full(width * _WIDTH, _EMBEDDING_SD if places is None else _PLACE_SD))
            noise = 0.3 if places is None else 0.03
            start.append((centre + noise * generator.normal(size=(width, _WIDTH))).ravel())
        return np.concatenate(prior), np.concatenate(start), np.concatenate(sd)

    def fit(
        self,
        rows: Rows,
        values: Floats,
        variances: Floats,
        features: Floats | None = None,
        iterations: int = 20,
    ) -> None:
        """Find the parameters for values [N] with known variances [N] of their noise; goes on from the last ones."""
        self.mean, self.scale = float(values.mean()), float(values.std()) + 1e-12
        standard = (values - self.mean) / self.scale
        onehot = self.onehot(rows)
        products = features @ features.T if features is not None and self.features else None
        arguments = (onehot, standard, variances / self.scale**2, products)
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
    ) -> "Posterior":
        """Return what is believed after values [N] with known variances [N] of their noise."""
        empty = Posterior(self, self._unpack(self.parameters))
        return empty.extend(rows, values, variances, features)

    def _unpack(self, parameters: Floats) -> _Kernel:
        decisions = len(self.sizes)
        scalars = np.exp(parameters[decisions : decisions + _SCALARS])
        embeddings, place = [], decisions + _SCALARS
        for width in self._widths:
            embeddings.append(parameters[place : place + width * _WIDTH].reshape(width, _WIDTH))
            place += width * _WIDTH
        product, additive, nugget, linear, hamming = scalars.tolist()
        relevance = np.exp(parameters[:decisions])
        return _Kernel(relevance, product, additive, nugget, linear, hamming, embeddings)

    def _distances(self, kernel: _Kernel) -> list[tuple[Floats, Floats, Floats]]:
        """Return for each group D [K, K], the distances of embeddings [K, K], their differences [K, K, width]."""
        tables = []
        for embedding, hamming in zip(kernel.embeddings, self._apart, strict=True):
            apart = 1.0 - np.eye(len(embedding))
            differences = embedding[:, None] - embedding[None]
            lengths = np.sqrt((differences**2).sum(-1) + 1e-6 * apart) * apart
            tables.append((kernel.hamming * hamming * apart + lengths, lengths, differences))
        return tables

    def onehot(self, rows: Rows) -> Floats:
        """Return rows of choice indices [N, L] as zeros and ones [N, sum of sizes]."""
        onehot = np.zeros((len(rows), int(self._offsets[-1])))
        onehot[np.arange(len(rows))[:, None], self._offsets[:-1] + rows] = 1.0
        return onehot

    def _table(self, decision: int, tables: list[tuple[Floats, Floats, Floats]]) -> Floats:
        size = self.sizes[decision]
        return tables[self.groups[decision]][0][:size, :size]

    def _summed(self, left: Floats, right: Floats, tables: list[Floats]) -> Floats:
        """Return sum_l tables_l[x_l, x'_l] [N, M] by one multiplication of one-hot rows."""
        mapped = np.empty_like(left)
        for decision, table in enumerate(tables):
            span = slice(self._offsets[decision], self._offsets[decision + 1])
            mapped[:, span] = left[:, span] @ table
        result: Floats = mapped @ right.T
        return result

    def _parts(self, left: Floats, right: Floats, kernel: _Kernel, tables: Any) -> tuple[Floats, Floats]:
        distances = [self._table(d, tables) for d in range(len(self.sizes))]
        weights = kernel.relevance / kernel.relevance.sum()
        product = np.exp(
            -self._summed(left, right, [t * d for t, d in zip(kernel.relevance, distances, strict=True)])
        )
        additive = self._summed(
            left, right, [w * np.exp(-2 * d) for w, d in zip(weights, distances, strict=True)]
        )
        return product, additive

    def covariance(self, kernel: _Kernel, left: Floats, right: Floats, linear: Floats | None) -> Floats:
        """Return the covariance of one-hot rows [N, K] and [M, K]; `linear` has their features' products."""
        product, additive = self._parts(left, right, kernel, self._distances(kernel))
        covariance = kernel.product * product + kernel.additive * additive
        if linear is not None:
            covariance += kernel.linear * linear
        return covariance

    def _loss(
        self, parameters: Floats, onehot: Floats, values: Floats, variances: Floats, linear: Floats | None
    ) -> tuple[float, Floats]:
        """Return the negative log posterior of parameters, and its gradient."""
        kernel = self._unpack(parameters)
        tables = self._distances(kernel)
        product, additive = self._parts(onehot, onehot, kernel, tables)
        covariance = kernel.product * product + kernel.additive * additive
        if linear is not None:
            covariance += kernel.linear * linear
        covariance[np.diag_indices_from(covariance)] += kernel.nugget + variances + _JITTER
        factor, info = dpotrf(covariance, lower=1)
        if info:
            return _FAILED, np.zeros_like(parameters)
        inverse = dpotri(factor, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        weights = inverse @ values
        loss = 0.5 * values @ weights + np.log(np.diag(factor)).sum()
        slope = 0.5 * (inverse - np.outer(weights, weights))  # of the loss by each entry of the covariance
        gradient = self._gradient(parameters, kernel, tables, onehot, slope, product, additive, linear)
        shift = (parameters - self._prior) / self._sd
        return float(loss + 0.5 * shift @ shift), gradient + shift / self._sd

    def _gradient(
        self,
        parameters: Floats,
        kernel: _Kernel,
        tables: Any,
        onehot: Floats,
        slope: Floats,
        product: Floats,
        additive: Floats,
        linear: Floats | None,
    ) -> Floats:
        decisions = len(self.sizes)
        gradient = np.zeros_like(parameters)
        by_table = [np.zeros((width, width)) for width in self._widths]
        weights = kernel.relevance / kernel.relevance.sum()
        product_pull = (-kernel.product * slope * product) @ onehot
        additive_pull = (kernel.additive * slope) @ onehot
        shares = np.zeros(decisions)
        for d in range(decisions):
            span, size, group = slice(self._offsets[d], self._offsets[d + 1]), self.sizes[d], self.groups[d]
            distance = tables[group][0][:size, :size]
            pull = onehot[:, span].T @ product_pull[:, span]
            gradient[d] = kernel.relevance[d] * (pull * distance).sum()
            by_table[group][:size, :size] += kernel.relevance[d] * pull
            near = np.exp(-2 * distance)
            pull = (onehot[:, span].T @ additive_pull[:, span]) * near
            shares[d] = pull.sum()
            by_table[group][:size, :size] -= 2 * weights[d] * pull
        gradient[:decisions] += weights * (shares - weights @ shares)
        gradient[decisions] = kernel.product * (slope * product).sum()
        gradient[decisions + 1] = kernel.additive * (slope * additive).sum()
        gradient[decisions + 2] = kernel.nugget * np.trace(slope)
        if linear is not None:
            gradient[decisions + 3] = kernel.linear * (slope * linear).sum()
        place = decisions + _SCALARS
        for (_, lengths, differences), pull, hamming in zip(tables, by_table, self._apart, strict=True):
            np.fill_diagonal(pull, 0.0)
            gradient[decisions + 4] += kernel.hamming * hamming * pull.sum()
            scaled = (pull + pull.T) / np.maximum(lengths, 1e-9)
            np.fill_diagonal(scaled, 0.0)
            gradient[place : place + differences.shape[0] * _WIDTH] = (
                (scaled[:, :, None] * differences).sum(1).ravel()
            )
            place += differences.shape[0] * _WIDTH
        return gradient


class Posterior:
    """What a process believes after some rows; immutable, and cheap to extend: O(n^2) for a row."""

    def __init__(self, process: GaussianProcess, kernel: _Kernel) -> None:
        self._process = process
        self._kernel = kernel
        self._onehots = np.zeros((0, sum(process.sizes)))
        self._features: Floats | None = None
        self._factor = np.zeros((0, 0))
        self._targets = np.zeros(0)
        self._noise = np.zeros(0)
        self._weights = np.zeros(0)

    def __len__(self) -> int:
        return len(self._targets)

    def extend(
        self, rows: Rows, values: Floats, variances: Floats, features: Floats | None = None
    ) -> "Posterior":
        """Return the belief after more rows [N, L] with values [N] and known variances [N] of their noise."""
        process, kernel = self._process, self._kernel
        onehots = process.onehot(rows)
        inner = process.covariance(kernel, onehots, onehots, _products(features, features))
        noise = variances / process.scale**2
        inner[np.diag_indices_from(inner)] += kernel.nugget + noise + _JITTER
        cross = process.covariance(kernel, self._onehots, onehots, _products(self._features, features))
        known, more = len(self), len(rows)
        factor = np.zeros((known + more, known + more))
        if known:
            explained = solve_triangular(self._factor, cross, lower=True, check_finite=False)
            factor[:known, :known] = self._factor
            factor[known:, :known] = explained.T
            inner -= explained.T @ explained
        corner, info = dpotrf(inner, lower=1)
        if info:
            raise np.linalg.LinAlgError("the covariance of the rows is not positive definite")
        factor[known:, known:] = corner
        longer = Posterior(process, kernel)
        longer._onehots = np.concatenate([self._onehots, onehots])
        if features is not None:
            longer._features = (
                features if self._features is None else np.concatenate([self._features, features])
            )
        longer._factor = factor
        longer._targets = np.concatenate([self._targets, (values - process.mean) / process.scale])
        longer._noise = np.concatenate([self._noise, noise])
        longer._weights = cho_solve((factor, True), longer._targets, check_finite=False)
        return longer

    def believing(self, rows: Rows, features: Floats | None = None) -> "Posterior":
        """Return the belief as if rows had come out as predicted: their surroundings become less uncertain."""
        if not len(rows):
            return self
        mean, _ = self.predict(rows, features)
        return self.extend(rows, mean, np.zeros(len(rows)), features)

    def predict(self, rows: Rows, features: Floats | None = None) -> tuple[Floats, Floats]:
        """Return means and standard deviations [M] of architectures' own values, without noise of measuring.

        The nugget is part of the deviation: it is what no smooth function of the choices explains.
        """
        process, kernel = self._process, self._kernel
        onehots = process.onehot(rows)
        cross = process.covariance(kernel, self._onehots, onehots, _products(self._features, features))
        explained = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        prior = kernel.product + kernel.additive + kernel.nugget
        own = kernel.linear * (features**2).sum(1) if features is not None else 0.0
        variance = np.maximum(prior + own - (explained**2).sum(0), 1e-12)
        return process.mean + process.scale * (cross.T @ self._weights), process.scale * np.sqrt(variance)

    def mean(self, rows: Rows, features: Floats | None = None) -> Floats:
        """Return means [M] alone: far cheaper than `predict`."""
        process = self._process
        cross = process.covariance(
            self._kernel, self._onehots, process.onehot(rows), _products(self._features, features)
        )
        mean: Floats = process.mean + process.scale * (cross.T @ self._weights)
        return mean

    def smoothed(self) -> tuple[Floats, Floats]:
        """Return means and deviations [N] of the known rows' own values: what was measured, less its noise."""
        inverse = dpotri(self._factor, lower=1)[0]
        variance = np.maximum(self._noise - self._noise**2 * np.diag(inverse), 0.0)
        mean = self._targets - self._noise * self._weights
        return self._process.mean + self._process.scale * mean, self._process.scale * np.sqrt(variance)


def _products(left: Floats | None, right: Floats | None) -> Floats | None:
    return left @ right.T if left is not None and right is not None else None
