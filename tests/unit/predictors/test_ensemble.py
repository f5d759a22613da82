import numpy as np
import pytest
from scipy.optimize import approx_fprime

from hilnas.predictors.base import rank_correlation
from hilnas.predictors.ensemble import Ensemble, _errors, _ranking

GENERATOR = np.random.default_rng(0)
POINTS = GENERATOR.integers(0, 2, (60, 8)).astype(float)
VALUES = POINTS @ np.arange(8.0) + 4.0 * POINTS[:, 0] * POINTS[:, 1]


@pytest.mark.parametrize("loss", ["mse", "ranking"])
def test_a_seed_tells_all_and_nothing_else_is_touched(loss):
    before = np.random.get_state()[1].copy()
    found = []
    for seed in (0, 0, 1):
        ensemble = Ensemble(seed, loss, members=3, steps=20)
        ensemble.fit(POINTS, VALUES)
        found.append(ensemble.predict(POINTS))
    assert (found[0][0] == found[1][0]).all()
    assert (found[0][1] == found[1][1]).all()
    assert (found[0][0] != found[2][0]).any()
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("variance", [0.0, 0.3])
@pytest.mark.parametrize(("pull_of", "loss"), [(_errors, "mse"), (_ranking, "ranking")])
def test_gradients_are_those_of_the_loss(pull_of, loss, variance):
    values, noise = VALUES[:6] / 10, np.full(6, variance)
    ensemble = Ensemble(0, loss, members=1, units=4)
    ensemble._parameters = ensemble._initial(8, np.random.default_rng(1))
    shapes = [parameter.shape for parameter in ensemble._parameters]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    weights = np.array([[0.0, 0.1, 0.2, 0.3, 0.4, 0.0]])
    from scipy.special import ndtr

    def total(flat):
        parts = np.split(flat, ends)
        ensemble._parameters = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        outputs = ensemble._forward(POINTS[:6])[-1][0]
        if loss == "mse":
            return 0.5 * (weights[0] / (1 + variance)) @ (outputs - values) ** 2
        apart = values[:, None] - values
        above = ndtr(apart / np.sqrt(2 * variance)) if variance else 0.5 * (1 + np.sign(apart))
        logits = outputs[:, None] - outputs
        return 0.5 * weights[0] @ (np.logaddexp(0, logits) - above * logits) @ weights[0]

    start = np.concatenate([parameter.ravel() for parameter in ensemble._parameters])
    start += 0.05 * np.random.default_rng(2).normal(size=start.shape)  # off the corners of the units
    numeric = approx_fprime(start, total, 1e-7)
    total(start)
    gradients = ensemble._gradients(POINTS[:6], weights, pull_of(values, noise))
    assert np.concatenate([gradient.ravel() for gradient in gradients]) == pytest.approx(numeric, abs=1e-5)


def test_ranking_learns_an_order_whatever_the_scale():
    """Values that grow without measure: squared errors see the largest alone, ranks see all."""
    train, unseen = POINTS[:40], POINTS[40:]
    skewed = np.exp(VALUES)
    found = {}
    for loss in ("mse", "ranking"):
        ensemble = Ensemble(0, loss)
        ensemble.fit(train, skewed[:40])
        found[loss] = rank_correlation(ensemble.predict(unseen)[0], skewed[40:]).spearman
    assert found["ranking"] > 0.9
    assert found["ranking"] > found["mse"] + 0.05


def test_noisy_pairs_have_no_certain_order():
    values = np.array([0.0, 1.0])
    outputs, weights = np.array([[0.0, 0.0]]), np.ones((1, 2))
    sure = _ranking(values, np.zeros(2))(outputs, weights)
    doubtful = _ranking(values, np.full(2, 100.0))(outputs, weights)
    assert sure.tolist() == [[0.5, -0.5]]
    assert 0 < doubtful[0, 0] < 0.05
    assert _ranking(np.ones(2), np.zeros(2))(outputs, weights).tolist() == [[0.0, 0.0]]


def test_it_is_less_certain_of_what_is_strange():
    ensemble = Ensemble(0)
    ensemble.fit(POINTS, VALUES)
    known, strange = ensemble.predict(POINTS)[1], ensemble.predict(5 * POINTS[:20] - 8)[1]
    assert strange.mean() > 2 * known.mean()
