"""Has a warm-up done its work: is what comes later still of the same kind as what came before?"""

from collections.abc import Sequence

LEAST = 10
"""Values in each half, at least: fewer say nothing of quartiles."""

_MEAN = (-0.5, 0.10)
_QUARTILES, _SPREAD = 0.05, 0.10


def is_stationary(values: Sequence[float]) -> bool:
    """True when the earlier half of `values` (shape [n], any unit) is like the later one.

    pyperf's test for the end of a warm-up: the first value is no outlier of the later half (at most
    Q3 + 1.5 IQR), the mean is within -50 and +10 % of it, both quartiles within 5 %; and the median
    absolute deviations differ by a tenth of the median at most.
    """
    half = len(values) // 2
    if half < LEAST:
        return False
    earlier, later = values[-2 * half : -half], values[-half:]
    q1, centre, q3 = (_quantile(later, share) for share in (0.25, 0.5, 0.75))
    p1, p3 = _quantile(earlier, 0.25), _quantile(earlier, 0.75)
    if centre <= 0 or earlier[0] > q3 + 1.5 * (q3 - q1) + _QUARTILES * centre:
        return False
    mean = sum(later) / half
    return (
        _MEAN[0] <= (sum(earlier) / half - mean) / mean <= _MEAN[1]
        and abs(p1 - q1) <= _QUARTILES * q1
        and abs(p3 - q3) <= _QUARTILES * q3
        and abs(_mad(earlier) - _mad(later)) <= _SPREAD * centre
    )


def _mad(values: Sequence[float]) -> float:
    centre = _quantile(values, 0.5)
    return _quantile([abs(value - centre) for value in values], 0.5)


def _quantile(values: Sequence[float], share: float) -> float:
    """Linear interpolation between the ordered values, as NumPy does; it would be slower for so few."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
