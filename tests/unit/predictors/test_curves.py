"""Learning curves: where they end, and how sure that is."""

import numpy as np
import pytest

from hilnas.predictors.curves import Curve, CurveModel

HORIZON = 27.0


def _law(epochs, limit, loss, exponent):
    return limit - loss * (np.asarray(epochs, float) / HORIZON) ** -exponent


def _drawn(generator, epochs, noise=0.004):
    limit, loss, exponent = (
        generator.uniform(0.8, 0.95),
        generator.uniform(0.01, 0.1),
        generator.uniform(0.3, 1.2),
    )
    seen = _law(epochs, limit, loss, exponent) + generator.normal(0, noise, len(epochs))
    curve = Curve(tuple(map(float, epochs)), tuple(seen.tolist()), (noise**2,) * len(epochs))
    return curve, float(_law([HORIZON], limit, loss, exponent)[0])


def test_a_curve_without_noise_is_followed():
    epochs = [1, 2, 3, 6, 9]
    curve = Curve(tuple(map(float, epochs)), tuple(_law(epochs, 0.9, 0.05, 0.6).tolist()), (1e-8,) * 5)
    mean, deviation = CurveModel(HORIZON).predict(curve)
    assert mean == pytest.approx(0.85, abs=0.01)
    assert deviation < 0.05


def test_intervals_cover_where_curves_end_and_shrink_with_what_is_seen():
    generator = np.random.default_rng(0)
    known = [_drawn(generator, [1, 3, 9, 27])[0] for _ in range(12)]
    model, widths = CurveModel(HORIZON, known), []
    for seen in ([1], [1, 3], [1, 3, 9]):
        found = [(model.predict(curve), end) for curve, end in (_drawn(generator, seen) for _ in range(200))]
        inside = np.mean([abs(mean - end) < 2 * deviation for (mean, deviation), end in found])
        assert inside > 0.85
        widths.append(np.mean([deviation for (_, deviation), _ in found]))
    assert widths == sorted(widths, reverse=True)


def test_what_others_came_to_is_a_better_guess_than_the_last_value():
    generator = np.random.default_rng(1)
    known = [_drawn(generator, [1, 3, 9, 27])[0] for _ in range(12)]
    model = CurveModel(HORIZON, known)
    errors, naive = [], []
    for _ in range(200):
        curve, end = _drawn(generator, [1, 3])
        errors.append(abs(model.predict(curve)[0] - end))
        naive.append(abs(curve.accuracies[-1] - end))
    assert np.mean(errors) < 0.7 * np.mean(naive)


def test_an_accuracy_is_a_share_and_no_points_are_refused():
    high = Curve((1.0, 2.0), (0.98, 0.999), (1e-6, 1e-6))
    mean, deviation = CurveModel(HORIZON).predict(high)
    assert 0 <= mean <= 1
    assert deviation > 0
    with pytest.raises(ValueError, match="without points"):
        CurveModel(HORIZON).predict(Curve((), (), ()))
