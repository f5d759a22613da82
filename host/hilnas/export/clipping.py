"""Where a range should end: percentiles, and the least mean squared error, from a histogram of the values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_BINS = 2**16  # so many that also a range a thousand times too wide has some in every int8 step
_STEPS = 255
# Candidate ends, as shares of the farthest value: five percent apart.
_SHARES = np.geomspace(0.01, 1, 96)

Range = tuple[float, float]


class Histogram:
    """How often values lie where between `low` <= 0 and `high` >= 0; what lies beyond counts as the end."""

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high
        self._width = (high - low) / _BINS
        self._counts: npt.NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self._zeros = 0

    def add(self, values: Tensor) -> None:
        """Count values, float32 of any shape; zeros apart, since int8 has them exactly."""
        flat = values.detach().reshape(-1)
        flat = flat[flat != 0]
        self._zeros += values.numel() - len(flat)
        if self._width > 0:
            places = (flat - self.low).div_(self._width).int().clamp_(0, _BINS - 1)
            self._counts += torch.bincount(places, minlength=_BINS).numpy()

    def percentile(self, percent: float) -> Range:
        """The range that at most 100 - `percent` percent of the values exceed at either end, zero included."""
        if not self._counts.any():
            return self.low, self.high
        allowed = (1 - percent / 100) * (self._counts.sum() + self._zeros)
        edges = np.linspace(self.low, self.high, _BINS + 1)
        below, above = np.cumsum(self._counts), np.cumsum(self._counts[::-1])
        # The first bin that must not be cut off entirely.
        first = int(np.searchsorted(below, allowed, side="right"))
        last = _BINS - int(np.searchsorted(above, allowed, side="right"))
        return min(float(edges[first]), 0.0), max(float(edges[max(last, 0)]), 0.0)

    def least_squared_error(self) -> Range:
        """The range that leaves the smallest mean squared error, zero included.

        Within the range rounding leaves step² / 12 for every value but zero; beyond it the distance to
        its end is lost. All pairs of candidate ends are tried.
        """
        if not self._counts.any():
            return self.low, self.high
        ups, downs = self.high * _SHARES, -self.low * _SHARES
        lost_above, beyond_above = self._beyond(ups, 1)
        lost_below, beyond_below = self._beyond(downs, -1)
        steps = (ups[:, None] + downs[None, :]) / _STEPS
        rounded = self._counts.sum() - beyond_above[:, None] - beyond_below[None, :]
        error = rounded * steps**2 / 12 + lost_above[:, None] + lost_below[None, :]
        # Of equal ones the widest: nothing is gained by clipping.
        up, down = np.unravel_index(error.size - 1 - int(error[::-1, ::-1].argmin()), error.shape)
        return -float(downs[down]), float(ups[up])

    def _beyond(
        self, ends: npt.NDArray[np.float64], side: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The squared error of, and the number of, values that lie beyond each end on one side of zero."""
        middles = (self.low + (np.arange(_BINS) + 0.5) * self._width)[::side] * side
        counts = self._counts[::side].astype(np.float64)
        # Sums over all bins from each on, and none after the last.
        sums = [np.append(np.cumsum((counts * middles**power)[::-1])[::-1], 0.0) for power in range(3)]
        place = np.searchsorted(middles, ends, side="right")
        number, first, second = (total[place] for total in sums)
        return np.maximum(second - 2 * ends * first + ends**2 * number, 0.0), number
