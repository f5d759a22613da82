import numpy as np
import pytest

from hilnas.predictors.base import checked, cross_validated, rank_correlation
from hilnas.predictors.encodings import Encoder
from hilnas.predictors.ensemble import Ensemble
from hilnas.predictors.gp_predictor import GpPredictor
from hilnas.predictors.ridge import BayesianRidge
from tests.unit.strategies.toys import NETS

ENCODER = Encoder(NETS)
MAKERS = {
    "ridge": BayesianRidge,
    "mse": lambda: Ensemble(0, members=4, steps=60),
    "ranking": lambda: Ensemble(0, "ranking", members=4, steps=60),
    "gp": lambda: GpPredictor(ENCODER),
}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS)
def make(request):
    return request.param


def rows(count, seed=0):
    return ENCODER.draw(count, np.random.default_rng(seed)).astype(float)


def truth(points):
    return 3.0 * points[:, 0] + points[:, 1] - 2.0 * points[:, 5] + 40.0


def test_orders_by_hand():
    found = rank_correlation([1, 2, 3, 4], [10, 30, 20, 40], best=0.5)
    assert found.spearman == pytest.approx(0.8)
    assert found.kendall == pytest.approx(4 / 6)
    assert (found.overlap, found.regret) == (0.5, 0)
    assert rank_correlation([1, 2, 3, 4], [40, 30, 20, 10], best=0.25).regret == 30
    tied = rank_correlation([1, 1, 2], [1, 2, 3])
    assert tied.kendall == pytest.approx(2 / np.sqrt(3 * 2))


def test_what_is_not_finite_is_left_out_and_no_order_is_nan():
    with_gaps = rank_correlation([1, np.nan, 2, 3, 9], [1, 5, 2, 3, np.inf])
    assert with_gaps.spearman == pytest.approx(1)
    for predicted, measured in (([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [2, 2, 2]), ([1], [1]), ([], [])):
        assert np.isnan(rank_correlation(predicted, measured).spearman)
    with pytest.raises(ValueError, match=r"\[2\], measured \[3\]"):
        rank_correlation([1, 2], [1, 2, 3])


def test_held_out_orders_are_found_and_noise_has_none():
    points, noise = rows(80), np.random.default_rng(1).normal(size=80)
    assert cross_validated(BayesianRidge, points, truth(points)).spearman > 0.97
    assert abs(cross_validated(BayesianRidge, points, noise).spearman) < 0.4
    assert np.isnan(cross_validated(BayesianRidge, points, np.ones(80)).spearman)
    with pytest.raises(ValueError, match="3 rows in 2 folds"):
        cross_validated(BayesianRidge, points[:3], truth(points[:3]), folds=2)


@pytest.mark.parametrize(
    ("values", "variances", "message"),
    [
        ([1.0, np.nan], None, "values of row 1 are not finite"),
        ([1.0, 2.0], [0.0, np.inf], "variances of row 1"),
        ([1.0, 2.0], [-1.0, 0.0], "row 0 is negative"),
        ([1.0], None, r"values \[1\]"),
    ],
)
def test_what_cannot_be_learned_is_refused(make, values, variances, message):
    with pytest.raises(ValueError, match=message):
        make().fit(rows(2), np.array(values), variances)
    with pytest.raises(ValueError, match="inputs of row 0"):
        checked([[np.nan]], [1.0])
    with pytest.raises(ValueError, match="nothing to learn from"):
        make().fit(rows(2)[:0], np.zeros(0))


def test_every_predictor_beats_a_constant(make):
    known, unseen = rows(60), rows(100, 7)
    predictor = make()
    predictor.fit(known, truth(known))
    mean, sd = predictor.predict(unseen)
    assert np.abs(mean - truth(unseen)).mean() < 0.5 * truth(unseen).std()
    assert rank_correlation(mean, truth(unseen)).spearman > 0.85
    assert sd.shape == (100,)
    assert (sd > 0).all()


def test_deviations_are_about_the_errors(make):
    known, unseen = rows(60), rows(300, 7)
    noise = 1.5 * np.random.default_rng(0).normal(size=360)
    predictor = make()
    predictor.fit(known, truth(known) + noise[:60])
    mean, sd = predictor.predict(unseen)
    assert 0.5 < np.sqrt(np.mean(((truth(unseen) + noise[60:] - mean) / sd) ** 2)) < 2.0


def test_equal_values_and_a_single_row(make):
    predictor = make()
    predictor.fit(rows(6), np.full(6, 2.0))
    mean, sd = predictor.predict(rows(5, 1))
    assert mean == pytest.approx(np.full(5, 2.0), abs=1e-6)
    assert (sd < 1e-3).all()
    single = make()
    single.fit(rows(1), np.array([3.0]))
    mean, sd = single.predict(rows(5, 1))
    assert mean == pytest.approx(np.full(5, 3.0), abs=1e-6)
    assert np.isinf(sd).all()
