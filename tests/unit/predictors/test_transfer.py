import numpy as np
import pytest

from hilnas.predictors.base import rank_correlation
from hilnas.predictors.ridge import BayesianRidge
from hilnas.predictors.transfer import FewShotTransfer

COUNT = 400
GENERATOR = np.random.default_rng(0)
OPERATIONS = GENERATOR.integers(0, 4, (COUNT, 6))
ONE_HOT = np.eye(4)[OPERATIONS].reshape(COUNT, -1)


def devices(number, seed=0):
    """Latencies [COUNT, number] in ms: of each device its own cost of an operation, and a start of its own."""
    draw = np.random.default_rng(seed)
    costs = np.array([0.1, 1.0, 3.0, 9.0]) * np.exp(0.5 * draw.normal(size=(number, 6, 4)))
    sums = np.stack([cost[np.arange(6), OPERATIONS].sum(1) for cost in costs], 1)
    return (sums + draw.uniform(0, 3, number)) * np.exp(draw.normal(size=number))


LATENCIES = devices(7)
KNOWN, NEW = LATENCIES[:, :6], LATENCIES[:, 6]


def held_out(predicted, chosen, new=NEW):
    rest = np.setdiff1d(np.arange(COUNT), chosen)
    return rank_correlation(predicted[rest], new[rest]).spearman


@pytest.fixture(params=[0, 24], ids=["latencies", "with encodings"])
def inputs(request):
    return np.hstack([KNOWN, ONE_HOT[:, : request.param]])


def transferred(inputs, chosen=None, count=10, new=NEW):
    transfer = FewShotTransfer(inputs, 6)
    chosen = transfer.choose(count) if chosen is None else chosen
    transfer.fit(inputs[chosen], new[chosen])
    return chosen, *transfer.predict(inputs)


@pytest.mark.parametrize("encoded", [False, True], ids=["latencies", "with encodings"])
def test_ten_measurements_beat_scratch_and_the_known_device_most_like_it(encoded):
    found = []
    for device in range(7):
        known, new = np.delete(LATENCIES, device, 1), LATENCIES[:, device]
        inputs = np.hstack([known, ONE_HOT]) if encoded else known
        chosen, predicted, _ = transferred(inputs, new=new)
        scratch = BayesianRidge()
        scratch.fit(ONE_HOT[chosen], np.log(new[chosen]))
        alike = [rank_correlation(column[chosen], new[chosen]).spearman for column in known.T]
        guesses = (predicted, scratch.predict(ONE_HOT)[0], known[:, np.argmax(alike)])
        found.append([held_out(guess, chosen, new) for guess in guesses])
    transfer, scratch, proxy = np.mean(found, axis=0)
    assert transfer > scratch + 0.05
    assert transfer > proxy + 0.02


def test_latencies_have_their_unit_and_their_doubt(inputs):
    chosen, predicted, sd = transferred(inputs)
    rest = np.setdiff1d(np.arange(COUNT), chosen)
    errors = (predicted - NEW)[rest]
    assert np.median(np.abs(errors) / NEW[rest]) < 0.2
    assert 0.3 < np.sqrt(np.mean((errors / sd[rest]) ** 2)) < 2.0


def test_what_is_chosen_tells_more_than_what_is_drawn():
    drawn = [np.random.default_rng(seed).permutation(COUNT)[:6] for seed in range(20)]
    by_chance = np.mean([held_out(transferred(KNOWN, chosen)[1], chosen) for chosen in drawn])
    chosen, predicted, _ = transferred(KNOWN, count=6)
    assert held_out(predicted, chosen) > by_chance
    assert len(set(chosen)) == 6


def test_units_do_not_matter():
    _, predicted, sd = transferred(KNOWN)
    scaled = FewShotTransfer(KNOWN * 1000)
    chosen = scaled.choose(10)
    scaled.fit(KNOWN[chosen] * 1000, NEW[chosen] / 1000)
    mean, deviation = scaled.predict(KNOWN * 1000)
    assert mean * 1000 == pytest.approx(predicted)
    assert deviation * 1000 == pytest.approx(sd)


def test_a_noisy_measurement_counts_less():
    chosen = FewShotTransfer(KNOWN).choose(10)
    wrong = NEW[chosen].copy()
    wrong[0] *= 5
    found = []
    for variances in (None, np.where(np.arange(10) == 0, (4 * NEW[chosen]) ** 2, 0.0)):
        transfer = FewShotTransfer(KNOWN)
        transfer.fit(KNOWN[chosen], wrong, variances)
        found.append(held_out(transfer.predict(KNOWN)[0], chosen))
    assert found[1] > found[0]


def test_one_known_device_or_one_measurement_is_something():
    single = FewShotTransfer(KNOWN[:, :1])
    single.fit(KNOWN[:5, :1], NEW[:5])
    assert rank_correlation(single.predict(KNOWN[:, :1])[0], KNOWN[:, 0]).spearman == pytest.approx(1)
    transfer = FewShotTransfer(KNOWN)
    transfer.fit(KNOWN[:1], NEW[:1])
    mean, sd = transfer.predict(KNOWN)
    assert mean[0] == pytest.approx(NEW[0])
    assert np.isfinite(mean).all()
    assert (sd > 0).all()


def test_what_is_no_latency_is_refused():
    broken = KNOWN.copy()
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match="row 3 are not all above 0"):
        FewShotTransfer(broken)
    transfer = FewShotTransfer(KNOWN)
    with pytest.raises(ValueError, match="row 1"):
        transfer.fit(KNOWN[:2], np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="6 known devices"):
        transfer.predict(KNOWN[:, :5])
    with pytest.raises(ValueError, match="cannot be chosen"):
        transfer.choose(0)
