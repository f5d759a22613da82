"""A kernel of architectures: categorical decisions with embeddings of their choices.

Of two rows x, x' of choices, with D_l = h [x_l != x'_l] + |e(x_l) - e(x'_l)|:

    k = a exp(-sum_l t_l D_l) + b sum_l w_l exp(-2 D_l) + c f.f',   w = t / sum t

The product part sees interactions, the additive one generalises from few rows, the linear one
takes static features f. Decisions with the same choices share their embeddings e, so what one layer
teaches of an operation holds for all.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

WIDTH = 2
"""Dimensions of a choice's embedding."""
SCALARS = 5
"""Parameters beside relevances and embeddings, in this order: a, b, nugget, c, h."""


class Layout:
    """How decisions make up rows and parameters.

    `sizes` has the number of choices of each of the L decisions, `groups` a number from 0 for each:
    decisions of one group share their embeddings. `on_a_line` says of each group whether its choices
    are points on a line: then they differ by their distance alone (h counts for nothing).

    Parameters [P] are, in order, log t [L], the logarithms of the scalars, and the embeddings.
    """

    def __init__(self, sizes: Sequence[int], groups: Sequence[int], on_a_line: Sequence[bool]) -> None:
        self.sizes = list(sizes)
        self.groups = list(groups)
        self.offsets = np.concatenate([[0], np.cumsum(self.sizes)])
        self.spans = [slice(a, b) for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]
        """Of each decision, its columns among one-hot ones."""
        pairs = list(zip(sizes, groups, strict=True))
        self.widths = [max(size for size, g in pairs if g == group) for group in range(max(groups) + 1)]
        """Number of embeddings of each group."""
        self.apart = [0.0 if line else 1.0 for line in on_a_line]

    def onehot(self, rows: Rows) -> Floats:
        """Return rows of choice indices [N, L] as zeros and ones [N, sum of sizes]."""
        onehot = np.zeros((len(rows), int(self.offsets[-1])))
        onehot[np.arange(len(rows))[:, None], self.offsets[:-1] + rows] = 1.0
        return onehot


class Kernel:
    """The kernel of a layout with certain parameters [P]."""

    def __init__(self, layout: Layout, parameters: Floats) -> None:
        self.layout = layout
        decisions = len(layout.sizes)
        scalars = np.exp(parameters[decisions : decisions + SCALARS]).tolist()
        self.product, self.additive, self.nugget, self.linear, self._hamming = scalars
        self._relevance = np.exp(parameters[:decisions])
        self._weights = self._relevance / self._relevance.sum()
        self._differences: list[Floats] = []
        self._lengths: list[Floats] = []
        distances = []
        place = decisions + SCALARS
        for width, hamming in zip(layout.widths, layout.apart, strict=True):
            embedding = parameters[place : place + width * WIDTH].reshape(width, WIDTH)
            place += width * WIDTH
            apart = 1.0 - np.eye(width)
            differences = embedding[:, None] - embedding[None]
            lengths = np.sqrt((differences**2).sum(-1) + 1e-6 * apart) * apart
            distances.append(self._hamming * hamming * apart + lengths)
            self._differences.append(differences)
            self._lengths.append(lengths)
        pairs = zip(layout.sizes, layout.groups, strict=True)
        self._distances = [distances[group][:size, :size] for size, group in pairs]
        self._nearness = [np.exp(-2 * distance) for distance in self._distances]

    def prior(self, features: Floats | None, rows: int) -> Floats:
        """Return variances [N] of architectures before anything is known, nugget included."""
        own = self.linear * (features**2).sum(1) if features is not None else np.zeros(rows)
        variances: Floats = self.product + self.additive + self.nugget + own
        return variances

    def covariance(
        self, left: Floats, right: Floats, left_features: Floats | None, right_features: Floats | None
    ) -> Floats:
        """Return the covariance [N, M] of one-hot rows [N, K] and [M, K], the nugget left out."""
        return self.composed(*self.parts(left, right), products(left_features, right_features))

    def composed(self, product: Floats, additive: Floats, linear: Floats | None) -> Floats:
        """Return the covariance [N, M] of its parts."""
        covariance: Floats = self.product * product + self.additive * additive
        if linear is not None:
            covariance += self.linear * linear
        return covariance

    def parts(self, left: Floats, right: Floats) -> tuple[Floats, Floats]:
        """Return the product and the additive part [N, M], unscaled."""
        steps = [-t * d for t, d in zip(self._relevance, self._distances, strict=True)]
        nearness = [w * n for w, n in zip(self._weights, self._nearness, strict=True)]
        return np.exp(self._summed(left, right, steps)), self._summed(left, right, nearness)

    def applied(
        self,
        left: Floats,
        right: Floats,
        weights: Floats,
        left_features: Floats | None,
        features: Floats | None,
    ) -> Floats:
        """Return `covariance(left, right).T @ weights` [M]; only the product part needs each pair."""
        steps = [-t * d for t, d in zip(self._relevance, self._distances, strict=True)]
        result: Floats = self.product * (weights @ np.exp(self._summed(left, right, steps)))
        by_choice = left.T @ weights
        for span, w, nearness in zip(self.layout.spans, self._weights, self._nearness, strict=True):
            by_choice[span] = self.additive * w * (nearness @ by_choice[span])
        result += right @ by_choice
        if left_features is not None and features is not None:
            result += self.linear * (features @ (left_features.T @ weights))
        return result

    def _summed(self, left: Floats, right: Floats, tables: list[Floats]) -> Floats:
        """Return sum_l tables_l[x_l, x'_l] [N, M] by one multiplication of one-hot rows."""
        mapped = np.empty_like(left)
        for span, table in zip(self.layout.spans, tables, strict=True):
            mapped[:, span] = left[:, span] @ table
        result: Floats = mapped @ right.T
        return result

    def gradient(
        self, onehot: Floats, slope: Floats, product: Floats, additive: Floats, linear: Floats | None
    ) -> Floats:
        """Return the gradient [P] of what has the `slope` [N, N] by each entry of the rows' covariance."""
        by_decision = self._gradient_of_decisions(onehot, slope, product, additive)
        relevance, by_group = by_decision
        hamming, embeddings = 0.0, []
        groups = zip(self._lengths, self._differences, by_group, self.layout.apart, strict=True)
        for lengths, differences, pull, apart in groups:
            np.fill_diagonal(pull, 0.0)
            hamming += self._hamming * apart * pull.sum()
            scaled = (pull + pull.T) / np.maximum(lengths, 1e-9)
            np.fill_diagonal(scaled, 0.0)
            embeddings.append((scaled[:, :, None] * differences).sum(1).ravel())
        scalars = [
            self.product * (slope * product).sum(),
            self.additive * (slope * additive).sum(),
            self.nugget * np.trace(slope),
            self.linear * (slope * linear).sum() if linear is not None else 0.0,
            hamming,
        ]
        return np.concatenate([relevance, scalars, *embeddings])

    def _gradient_of_decisions(
        self, onehot: Floats, slope: Floats, product: Floats, additive: Floats
    ) -> tuple[Floats, list[Floats]]:
        """Return the gradient by log t [L], and by each entry of each group's D."""
        layout = self.layout
        product_pull = (-self.product * slope * product) @ onehot
        additive_pull = (self.additive * slope) @ onehot
        relevance, shares = np.zeros(len(layout.sizes)), np.zeros(len(layout.sizes))
        by_group = [np.zeros((width, width)) for width in layout.widths]
        for d, (span, size, group) in enumerate(zip(layout.spans, layout.sizes, layout.groups, strict=True)):
            pull = onehot[:, span].T @ product_pull[:, span]
            relevance[d] = self._relevance[d] * (pull * self._distances[d]).sum()
            by_group[group][:size, :size] += self._relevance[d] * pull
            pull = (onehot[:, span].T @ additive_pull[:, span]) * self._nearness[d]
            shares[d] = pull.sum()
            by_group[group][:size, :size] -= 2 * self._weights[d] * pull
        return relevance + self._weights * (shares - self._weights @ shares), by_group


def products(left: Floats | None, right: Floats | None) -> Floats | None:
    """Return the inner products [N, M] of features; None where there are none."""
    return left @ right.T if left is not None and right is not None else None
