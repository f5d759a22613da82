"""What every predictor does, and how well it orders what it has not seen."""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau, spearmanr

Floats = NDArray[np.float64]

LEAST_SCALE = 1e-12
"""Added to a standard deviation before one divides by it."""


class Predictor(Protocol):
    """Learns a figure of architectures from encoded ones, and says what others' would be."""

    def fit(self, inputs: Floats, values: Floats, variances: Floats | None = None) -> None:
        """Learn values [N] of inputs [N, D]; `variances` [N] of the values' noise, where they are known.

        ValueError where shapes do not agree or a number is not finite.
        """

    def predict(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Return means and standard deviations [M] of what inputs [M, D] have, without noise of measuring.

        A single row tells nothing of how far others lie from it: their deviation is infinite.
        """


def checked(
    inputs: ArrayLike, values: ArrayLike, variances: ArrayLike | None = None
) -> tuple[Floats, Floats, Floats]:
    """Return inputs [N, D], values [N] and variances [N], 0 where not given; ValueError names what is wrong."""
    points, figures = np.asarray(inputs, np.float64), np.asarray(values, np.float64)
    noise = np.zeros(len(figures)) if variances is None else np.asarray(variances, np.float64)
    if points.ndim != 2 or figures.shape != (len(points),) or noise.shape != figures.shape:
        raise ValueError(
            f"inputs are {list(points.shape)}, values {list(figures.shape)}, variances {list(noise.shape)}: "
            "[N, D], [N] and [N] are needed"
        )
    if not len(points):
        raise ValueError("there is nothing to learn from: give one row at least")
    for name, numbers in (("inputs", points), ("values", figures), ("variances", noise)):
        wrong = np.flatnonzero(~np.isfinite(numbers.reshape(len(points), -1)).all(1))
        if len(wrong):
            raise ValueError(f"{name} of row {wrong[0]} are not finite: leave out rows that have no figure")
    if (noise < 0).any():
        raise ValueError(f"the variance of row {np.flatnonzero(noise < 0)[0]} is negative")
    return points, figures, noise


@dataclass(frozen=True)
class RankCorrelation:
    """How alike two orders are; NaN where one of them has no order."""

    spearman: float
    kendall: float
    """Tau-b, which allows for ties."""
    overlap: float
    """Share of the measured best that are among the predicted best, the same number of each."""
    regret: float
    """What the best of the predicted best lacks of the best of all, in the unit of the measured."""


def rank_correlation(predicted: ArrayLike, measured: ArrayLike, best: float = 0.1) -> RankCorrelation:
    """Compare two orders [N], the larger the better (negate costs); `best` is the share that counts as best.

    Pairs of which one is not finite are left out.
    """
    guesses, figures = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    if guesses.shape != figures.shape or guesses.ndim != 1:
        raise ValueError(f"predicted are {list(guesses.shape)}, measured {list(figures.shape)}: [N] and [N]")
    both = np.isfinite(guesses) & np.isfinite(figures)
    guesses, figures = guesses[both], figures[both]
    if len(figures) < 2 or np.ptp(guesses) == 0 or np.ptp(figures) == 0:
        return RankCorrelation(np.nan, np.nan, np.nan, np.nan)
    count = max(1, round(best * len(figures)))
    chosen = np.argsort(-guesses, kind="stable")[:count]
    truly = np.argsort(-figures, kind="stable")[:count]
    return RankCorrelation(
        float(spearmanr(guesses, figures).statistic),
        float(kendalltau(guesses, figures).statistic),
        len(np.intersect1d(chosen, truly)) / count,
        float(figures.max() - figures[chosen].max()),
    )


def cross_validated(
    make: Callable[[], Predictor],
    inputs: ArrayLike,
    values: ArrayLike,
    variances: ArrayLike | None = None,
    folds: int = 5,
    seed: int = 0,
) -> RankCorrelation:
    """Return the mean over folds of how a fresh predictor of `make` orders the fold it has not seen.

    Each fold is ordered by itself: the predictors of two folds need not agree in their scale.
    """
    points, figures, noise = checked(inputs, values, variances)
    if not 2 <= folds <= len(points) // 2:
        raise ValueError(f"{len(points)} rows in {folds} folds: two folds at least, of two rows at least")
    order = np.random.default_rng(seed).permutation(len(points))
    found = []
    for held in np.array_split(order, folds):
        known = np.setdiff1d(order, held)
        predictor = make()
        predictor.fit(points[known], figures[known], noise[known])
        found.append(astuple(rank_correlation(predictor.predict(points[held])[0], figures[held])))
    defined = np.array([fold for fold in found if np.isfinite(fold).all()])
    return RankCorrelation(*(defined.mean(0).tolist() if len(defined) else [np.nan] * 4))
