import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import spearmanr

from hilnas.predictors.gp import GaussianProcess

SIZES, GROUPS = [5, 5, 3, 4], [0, 0, 1, 2]
EFFECTS = np.array([0.0, 1.0, 1.1, 3.0, 2.0])


def rows_of(count, seed=0):
    draw = np.random.default_rng(seed)
    return np.stack([draw.integers(size, size=count) for size in SIZES], 1)


def truth(rows):
    """The first two decisions share what their choices mean, and interact; the last one says nothing."""
    return EFFECTS[rows[:, 0]] + 2 * EFFECTS[rows[:, 1]] * (rows[:, 2] > 0)


def fitted(count=60, features=0, noise=0.0):
    rows = rows_of(count)
    values = truth(rows) + noise * np.random.default_rng(1).normal(size=count)
    extra = np.random.default_rng(2).normal(size=(count, features)) if features else None
    process = GaussianProcess(SIZES, GROUPS, features=features)
    process.fit(rows, values, np.full(count, noise**2), extra)
    return process, process.condition(rows, values, np.full(count, noise**2), extra), rows, values, extra


@pytest.mark.parametrize("features", [0, 2])
def test_gradients_are_those_of_the_loss(features):
    process, _, rows, values, extra = fitted(25, features)
    standard = (values - values.mean()) / values.std()
    linear = extra @ extra.T if features else None
    given = (process.layout.onehot(rows), standard, np.full(25, 0.02), linear)
    at = process.parameters + 0.1 * np.random.default_rng(3).normal(size=len(process.parameters))
    numeric = approx_fprime(at, lambda p: process._loss(p, *given)[0], 1e-6)
    assert process._loss(at, *given)[1] == pytest.approx(numeric, abs=2e-3)


def test_it_predicts_what_it_has_not_seen():
    _, posterior, _, _, _ = fitted(60)
    unseen = rows_of(200, 9)
    mean, sd = posterior.predict(unseen)
    assert spearmanr(mean, truth(unseen)).statistic > 0.95
    assert np.abs((truth(unseen) - mean) / sd).mean() < 2.0
    assert posterior.mean(unseen) == pytest.approx(mean)


def test_features_carry_what_choices_do_not_tell():
    draw = np.random.default_rng(5)
    rows, features = rows_of(80), draw.normal(size=(80, 2))
    values = 3 * features[:, 0] - features[:, 1]
    process = GaussianProcess(SIZES, GROUPS, features=2)
    process.fit(rows[:40], values[:40], np.zeros(40), features[:40])
    posterior = process.condition(rows[:40], values[:40], np.zeros(40), features[:40])
    mean, _ = posterior.predict(rows[40:], features[40:])
    assert spearmanr(mean, values[40:]).statistic > 0.95


@pytest.mark.parametrize("features", [0, 2])
def test_extending_row_by_row_is_conditioning_on_all(features):
    process, posterior, rows, values, extra = fitted(30, features, noise=0.2)
    part = (lambda a, b: extra[a:b]) if features else (lambda a, b: None)
    grown = process.condition(rows[:20], values[:20], np.full(20, 0.04), part(0, 20))
    for n in range(20, 30):
        grown = grown.extend(rows[n : n + 1], values[n : n + 1], np.full(1, 0.04), part(n, n + 1))
    unseen = rows_of(10, 4)
    more = np.random.default_rng(6).normal(size=(10, features)) if features else None
    for one, other in zip(grown.predict(unseen, more), posterior.predict(unseen, more), strict=True):
        assert one == pytest.approx(other, rel=1e-6)


def test_smoothing_takes_away_noise_and_no_more():
    process, posterior, rows, values, _ = fitted(40, noise=0.5)
    mean, sd = posterior.smoothed()
    assert np.abs(mean - truth(rows)).mean() < np.abs(values - truth(rows)).mean()
    assert (sd <= 0.5 + 1e-6).all()
    exact = process.condition(rows, values, np.zeros(40))
    assert exact.smoothed()[0] == pytest.approx(values, abs=1e-3)


def test_believing_changes_no_mean_and_narrows():
    _, posterior, _, _, _ = fitted(30)
    unseen = rows_of(6, 8)
    believed = posterior.believing(unseen[:3])
    assert believed.mean(unseen) == pytest.approx(posterior.mean(unseen), abs=1e-5)
    assert (believed.predict(unseen)[1][:3] < posterior.predict(unseen)[1][:3]).all()
    assert posterior.believing(unseen[:0]) is posterior


def test_points_on_a_line_generalise_to_those_never_seen():
    draw = np.random.default_rng(0)
    rows = np.stack([draw.integers(30, size=40), draw.integers(3, size=40)], 1)
    unseen = np.stack([draw.integers(30, size=60), draw.integers(3, size=60)], 1)
    found = []
    for places in (np.linspace(0, 1, 30), None):
        process = GaussianProcess([30, 3], [0, 1], [places, None])
        process.fit(rows, np.sqrt(rows[:, 0]) + rows[:, 1], np.zeros(40))
        posterior = process.condition(rows, np.sqrt(rows[:, 0]) + rows[:, 1], np.zeros(40))
        found.append(np.abs(posterior.mean(unseen) - np.sqrt(unseen[:, 0]) - unseen[:, 1]).mean())
    assert found[0] < 0.5 * found[1]


def test_equal_values_are_no_trouble():
    rows = rows_of(6)
    process = GaussianProcess(SIZES, GROUPS)
    process.fit(rows, np.full(6, 2.0), np.zeros(6))
    mean, sd = process.condition(rows, np.full(6, 2.0), np.zeros(6)).predict(rows_of(5, 1))
    assert mean == pytest.approx(np.full(5, 2.0), abs=1e-6)
    assert np.isfinite(sd).all()
