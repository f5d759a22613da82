import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hilnas.objectives import (
    Objective,
    broken_limit,
    front_hypervolume,
    has_limits_before_training,
    hypervolume,
    pareto_front,
    score,
)
from hilnas.trial import (
    Architecture,
    Estimate,
    Latency,
    Measurement,
    ModelFacts,
    Proposal,
    Trial,
    TrialStatus,
    Verdict,
)
from hilnas.units import parse_quantity

ACCURACY = Objective(quantity="accuracy")


def trial(
    number=0, accuracy=0.9, latency=4.0, size=2048, macs=5_000_000, memory=300, device_class="pi", half=0.0
):
    figures = Latency(latency, latency - half, latency + half, 0, 0, 0, 0, 0, 0, 1)
    measurement = Measurement(
        "d", device_class, "0" * 64, "p", "r", Verdict.TRUSTED, latency=figures, peak_memory_kib=memory
    )
    return Trial(
        number,
        Proposal(Architecture("s", (("n", number),))),
        TrialStatus.SCORED,
        model=ModelFacts("0" * 64, size, macs, 10),
        measurements=(measurement,),
        estimate=Estimate("e", accuracy, 0.01),
    )


def scored(objectives, *trials):
    return [replace(t, score=score(objectives, t)) for t in trials]


def test_soft_is_mnasnets_equation():
    objective = Objective(quantity="latency", target="4 ms", kind="soft")
    assert score([ACCURACY, objective], trial(latency=8.0)).reward == pytest.approx(0.9 * 2**-0.07)
    assert score([ACCURACY, objective], trial(latency=2.0)).reward == pytest.approx(0.9 * 0.5**-0.07)


def test_hard_spares_what_meets_the_target():
    objective = Objective(quantity="latency", target=4.0, kind="hard")
    assert score([ACCURACY, objective], trial(latency=2.0)).reward == pytest.approx(0.9)
    assert score([ACCURACY, objective], trial(latency=8.0)).reward == pytest.approx(0.45)


def test_absolute_is_tunas_equation():
    objective = Objective(quantity="latency", target=4.0, kind="absolute", slope=-0.1)
    assert score([ACCURACY, objective], trial(latency=4.0)).reward == pytest.approx(0.9)
    assert score([ACCURACY, objective], trial(latency=6.0)).reward == pytest.approx(0.9 - 0.05)
    assert score([ACCURACY, objective], trial(latency=2.0)).reward == pytest.approx(0.9 - 0.05)


def test_a_floor_takes_the_gain_of_doing_nothing():
    objective = Objective(quantity="latency", target=4.0, floor=1.0)
    at_floor = score([ACCURACY, objective], trial(latency=1.0)).reward
    assert score([ACCURACY, objective], trial(latency=0.001)).reward == at_floor


def test_a_cost_without_target_leaves_the_reward_alone():
    assert score([ACCURACY, Objective(quantity="macs")], trial()).reward == 0.9


def test_several_devices_multiply():
    one = Objective(quantity="latency", target=4.0, device_class="pi")
    two = Objective(quantity="latency", target=4.0, device_class="phone")
    both = trial(latency=8.0)
    other = trial(latency=16.0, device_class="phone").measurements
    from dataclasses import replace

    both = replace(both, measurements=both.measurements + other)
    result = score([ACCURACY, one, two], both)
    assert result.reward == pytest.approx(0.9 * 2**-0.07 * 4**-0.07)
    assert result.values["latency@phone"] == 16.0


def test_error_of_the_reward_follows_from_its_parts():
    objective = Objective(quantity="latency", target=4.0)
    precise = score([ACCURACY, objective], trial(latency=4.0))
    noisy = score([ACCURACY, objective], trial(latency=4.0, half=1.96 * 0.4))
    assert precise.reward_se == pytest.approx(0.01, rel=0.02)
    assert noisy.reward_se == pytest.approx(math.hypot(0.01, 0.9 * 0.07 * 0.1), rel=0.05)


def test_missing_figures_are_an_error():
    with pytest.raises(ValueError, match="latency@phone"):
        score([ACCURACY, Objective(quantity="latency", device_class="phone")], trial())


def test_limits_are_told_in_words():
    limits = [Objective(quantity="model_size", limit="1 KiB"), Objective(quantity="accuracy", limit="95 %")]
    assert broken_limit(limits, trial()) == "model_size 2 KiB is beyond the limit of 1 KiB"
    assert broken_limit(limits[1:], trial()) == "accuracy 0.9 is beyond the limit of 0.95"
    assert broken_limit([Objective(quantity="latency", limit=5.0)], trial()) is None


def test_only_device_limits_put_measuring_before_training():
    assert not has_limits_before_training([ACCURACY, Objective(quantity="macs", limit=1)])
    assert has_limits_before_training([Objective(quantity="peak_memory", limit=1)])


@pytest.mark.parametrize(
    "data",
    [
        {"quantity": "speed"},
        {"quantity": "latency", "target": "4 mJ"},
        {"quantity": "latency", "target": -1},
        {"quantity": "macs", "device_class": "pi"},
        {"quantity": "accuracy", "target": 0.9},
        {"quantity": "latency", "kind": "firm"},
    ],
)
def test_senseless_objectives_are_refused(data):
    with pytest.raises(ValidationError):
        Objective(**data)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("4 ms", "ms", 4), ("250us", "ms", 0.25), ("1.5 s", "ms", 1500), (3, "ms", 3), ("2 J", "mJ", 2000),
        ("1 MiB", "KiB", 1024), ("512 B", "KiB", 0.5), ("10 M", "M", 10), ("2 GMACs", "M", 2000), ("10 MMACs", "M", 10),
        ("500 k", "M", 0.5), ("7", "M", 7), ("95 %", "", 0.95), ("0.9", "", 0.9),
    ],
)  # fmt: skip
def test_quantities(text, unit, value):
    assert parse_quantity(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(("text", "unit"), [("4 m", "ms"), ("fast", "ms"), ("", "KiB"), ("4 KiB ms", "KiB")])
def test_what_is_no_quantity_is_refused(text, unit):
    with pytest.raises(ValueError, match="unit"):
        parse_quantity(text, unit)


points = st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=8)


@given(points)
@settings(max_examples=80, deadline=None)
def test_hypervolume_counts_the_cells_it_covers(cloud):
    reference = (5, 5, 5)
    covered = sum(
        any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in cloud)
        for cell in itertools.product(range(5), repeat=3)
    )
    assert hypervolume(cloud, reference) == covered


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 5), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_hypervolume_of_five_objectives(cloud):
    covered = sum(
        any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in cloud)
        for cell in itertools.product(range(3), repeat=5)
    )
    assert hypervolume(cloud, (3,) * 5) == covered


def test_hypervolume_of_a_large_front_of_many_objectives():
    """Slicing without pruning takes many minutes here."""
    rng = np.random.default_rng(0)
    cloud = np.abs(rng.normal(size=(120, 5)))
    cloud /= np.linalg.norm(cloud, axis=1, keepdims=True)  # on a sphere: none dominates another
    cells = rng.random((20_000, 5))
    covered = (cloud[None] <= cells[:, None]).all(2).any(1).mean()
    assert hypervolume(cloud.tolist(), (1.0,) * 5) == pytest.approx(covered, abs=0.02)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), min_size=1, max_size=10))
@settings(max_examples=80, deadline=None)
def test_front_is_what_nothing_beats(pairs):
    objectives = [ACCURACY, Objective(quantity="latency", device_class="pi")]
    trials = scored(objectives, *(trial(n, a / 10, float(latency)) for n, (a, latency) in enumerate(pairs)))
    front = {
        (t.estimate.accuracy, t.measurements[0].latency.median_ms) for t in pareto_front(objectives, trials)
    }
    everything = {(a / 10, float(latency)) for a, latency in pairs}
    expected = {
        p for p in everything if not any(q[0] >= p[0] and q[1] <= p[1] and q != p for q in everything)
    }
    assert front == expected


def test_a_lucky_measurement_leaves_the_front_when_it_is_not_repeated():
    objectives = [ACCURACY, Objective(quantity="latency", device_class="pi")]
    lucky, steady = scored(objectives, trial(0, 0.95, 2.0), trial(1, 0.8, 3.0))
    again = replace(scored(objectives, trial(2, 0.55, 6.0))[0], proposal=replace(lucky.proposal, repeat=1))
    assert pareto_front(objectives, [lucky, steady]) == [lucky]
    assert pareto_front(objectives, [lucky, steady, again]) == [steady]
    before, after = (front_hypervolume(objectives, t) for t in ([lucky, steady], [lucky, steady, again]))
    assert after < before


def test_hypervolume_of_a_front_grows_with_better_trials():
    objectives = [ACCURACY, Objective(quantity="latency", device_class="pi")]
    trials = scored(objectives, trial(0, 0.8, 4.0), trial(1, 0.7, 8.0))
    better = scored(objectives, trial(2, 0.9, 2.0))
    assert 0 < front_hypervolume(objectives, trials) < front_hypervolume(objectives, trials + better) <= 1
    assert front_hypervolume(objectives, []) == 0
    assert np.isfinite(front_hypervolume(objectives, trials))
