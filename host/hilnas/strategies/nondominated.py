"""Non-dominated sorting and crowding (Deb et al. 2002, sections III-A and III-B)."""

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]
"""[points, objectives], less is better."""


def nondominated_fronts(losses: Losses) -> list[NDArray[np.intp]]:
    """Return the points' indices by front: those that nothing dominates, then those only they dominate, …"""
    no_worse = (losses[:, None] <= losses[None]).all(-1)
    dominates = no_worse & (losses[:, None] < losses[None]).any(-1)
    dominators = dominates.sum(0)
    fronts: list[NDArray[np.intp]] = []
    left = np.ones(len(losses), bool)
    while left.any():
        front = np.flatnonzero(left & (dominators == 0))
        fronts.append(front)
        left[front] = False
        dominators = dominators - dominates[front].sum(0)
    return fronts


def crowding_distances(losses: Losses) -> NDArray[np.float64]:
    """Return how far each point of one front is from its neighbours; infinite at the ends."""
    distances = np.zeros(len(losses))
    for column in losses.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        extent = ordered[-1] - ordered[0]
        distances[order[[0, -1]]] = np.inf
        if extent > 0:
            distances[order[1:-1]] += (ordered[2:] - ordered[:-2]) / extent
    return distances


def crowded_order(losses: Losses) -> NDArray[np.intp]:
    """Return the points' indices, best first, by front and then by crowding distance."""
    return np.concatenate(
        [
            front[np.argsort(-crowding_distances(losses[front]), kind="stable")]
            for front in nondominated_fronts(losses)
        ]
    )
