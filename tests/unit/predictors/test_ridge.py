import numpy as np
import pytest
from scipy.stats import multivariate_normal

from hilnas.predictors.ridge import STRENGTHS, BayesianRidge, log_evidence

GENERATOR = np.random.default_rng(0)
POINTS, UNSEEN = GENERATOR.normal(size=(30, 5)), GENERATOR.normal(size=(7, 5))
VALUES = POINTS @ [1.0, -2.0, 0.0, 0.5, 0.0] + 3.0 + 0.3 * GENERATOR.normal(size=30)


def test_means_and_deviations_are_those_of_the_closed_form():
    ridge = BayesianRidge([2.5])
    ridge.fit(POINTS, VALUES)
    mean, sd = ridge.predict(UNSEEN)
    centred, middle = POINTS - POINTS.mean(0), VALUES.mean()
    inverse = np.linalg.inv(centred.T @ centred + 2.5 * np.eye(5))
    weights = inverse @ centred.T @ (VALUES - middle)
    away = UNSEEN - POINTS.mean(0)
    assert ridge.weights == pytest.approx(weights)
    assert mean == pytest.approx(middle + away @ weights)
    kernel = np.eye(30) + centred @ centred.T / 2.5
    variance = (VALUES - middle) @ np.linalg.solve(kernel, VALUES - middle) / 29
    within = np.einsum("nd,de,ne->n", away, inverse, away)
    assert sd == pytest.approx(np.sqrt(variance * (1 + 1 / 30 + within)))


def test_the_strength_is_that_of_the_largest_evidence():
    def evidence(strength):
        """Of the values less their mean, in the 29 directions that it leaves, at the best s^2."""
        axes = np.linalg.svd(np.ones((1, 30)))[2][1:]
        points, values = axes @ POINTS, axes @ VALUES
        kernel = np.eye(29) + points @ points.T / strength
        variance = values @ np.linalg.solve(kernel, values) / 29
        return multivariate_normal(cov=variance * kernel).logpdf(values)

    expected = np.array([evidence(strength) for strength in STRENGTHS])
    found = log_evidence(POINTS, VALUES, np.array(STRENGTHS))
    assert found - found[0] == pytest.approx(expected - expected[0], abs=1e-6)
    ridge = BayesianRidge()
    ridge.fit(POINTS, VALUES)
    assert ridge.strength == STRENGTHS[np.argmax(expected)]


def test_more_columns_than_rows():
    points = np.random.default_rng(1).normal(size=(10, 40))
    ridge = BayesianRidge([3.0])
    ridge.fit(points, points[:, 0])
    away = UNSEEN[:, [0] * 40] - points.mean(0)
    centred = points - points.mean(0)
    inverse = np.linalg.inv(centred.T @ centred + 3.0 * np.eye(40))
    sd = ridge.noise * np.sqrt(1 + 1 / 10 + np.einsum("nd,de,ne->n", away, inverse, away))
    assert ridge.predict(UNSEEN[:, [0] * 40])[1] == pytest.approx(sd)


def test_noisy_rows_count_less():
    values, variances = VALUES.copy(), np.zeros(30)
    values[:8] += 40.0
    variances[:8] = 40.0**2
    knowing, trusting = BayesianRidge(), BayesianRidge()
    knowing.fit(POINTS, values, variances)
    trusting.fit(POINTS, values)
    truth = UNSEEN @ [1.0, -2.0, 0.0, 0.5, 0.0] + 3.0
    assert (
        np.abs(knowing.predict(UNSEEN)[0] - truth).max()
        < 0.2 * np.abs(trusting.predict(UNSEEN)[0] - truth).max()
    )


def test_a_first_guess_at_the_noise_counts_as_rows():
    ridge = BayesianRidge([1.0], noise=5.0, faith=1e6)
    ridge.fit(POINTS, VALUES)
    assert ridge.noise == pytest.approx(5.0, rel=1e-3)
