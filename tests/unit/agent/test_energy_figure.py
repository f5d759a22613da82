"""From readings to a figure: windows, wraps, gaps, noise, rules, the interval."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hilnas_agent.energy import figure
from hilnas_agent.energy.repeat import Repeat, Times, look
from hilnas_agent.energy.settings import EnergySettings
from hilnas_agent.energy.student import two_sided
from hilnas_agent.energy.trace import Trace
from hilnas_agent.meters import COUNTER, POWER, MeterError, Reading, Traits
from tests.unit.agent.energy_world import Instrument, World, measured

S = 1_000_000_000
WATTS = Traits("w", "board", POWER, 10.0)
COUNTS = Traits("c", "soc", COUNTER, 10.0, wraps_at_j=100.0)
SETTINGS = EnergySettings(idle_ms=2000, busy_ms=4000, min_readings=20)


def power(*values, apart_s=0.1, traits=WATTS, within_ns=0):
    return Trace([Reading(round(k * apart_s * S), v, within_ns) for k, v in enumerate(values)], traits)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 30])
def test_students_quantiles_are_those_of_scipy(confidence, freedom):
    assert two_sided(confidence, freedom) == pytest.approx(stats.t.ppf((1 + confidence) / 2, freedom))


def test_power_is_that_of_the_readings_inside():
    trace = power(*[1.0] * 20, *[3.0] * 21, *[1.0] * 20)
    assert trace.watts(0, 2 * S - 1) == pytest.approx(1.0)
    assert trace.watts(2 * S, 4 * S + 1) == pytest.approx(3.0)
    # A border anywhere between two readings changes nothing.
    assert trace.watts(round(1.95 * S), round(4.05 * S)) == pytest.approx(3.0)


def test_a_reading_that_may_belong_to_the_other_side_is_left_out():
    trace = power(*[1.0] * 20, *[3.0] * 20, within_ns=round(0.25 * S))
    assert trace.watts(round(1.8 * S), 4 * S) == pytest.approx(3.0)
    assert trace.count(2 * S, 4 * S) == 15


def test_a_counters_wraps_are_made_up_for():
    values = (95 + 2.5 * np.arange(100)) % 100
    trace = power(*values, traits=COUNTS)
    assert trace.watts(0, 9 * S) == pytest.approx(25.0)


def test_a_counter_that_was_reset_is_no_wrap():
    with pytest.raises(MeterError, match="reset"):
        power(50.0, 51.0, 20.0, 21.0, traits=COUNTS)
    with pytest.raises(MeterError, match="reset"):
        power(50.0, 51.0, 0.0, traits=COUNTS._replace(wraps_at_j=0))


def test_readings_out_of_order_or_twice_are_put_right():
    readings = [Reading(2 * S, 2.0), Reading(0, 2.0), Reading(S, 2.0), Reading(S, 2.0), Reading(3 * S, 2.0)]
    trace = Trace(readings, WATTS)
    assert len(trace) == 4
    assert trace.rate_hz == pytest.approx(1.0)
    assert trace.watts(0, 4 * S) == pytest.approx(2.0)


def holed(kind, gap):
    """Ten readings a second for ten seconds, those in a span of seconds left out."""
    kept = [k for k in range(100) if not gap[0] <= k / 10 < gap[1]]
    return Trace([Reading(k * S // 10, k * 0.1, 0) for k in kept], kind)


@pytest.mark.parametrize(
    ("kind", "gap", "share"),
    [
        (WATTS, (0, 0), 0.0),
        (WATTS, (4, 5), 0.11 * 10 / 6),
        (COUNTS, (4, 5), 0.0),
        (WATTS, (1.5, 2.5), 0.05 * 10 / 6),
        (COUNTS, (1.5, 2.5), 0.05 * 10 / 6),
        (COUNTS, (7, 10), 0.11 * 10 / 6),
        (WATTS, (0, 10), 1.0),
    ],
)
def test_what_the_readings_say_nothing_of(kind, gap, share):
    assert holed(kind, gap).unseen(2 * S, 8 * S) == pytest.approx(share, abs=0.002)


def test_the_noise_of_a_mean_is_that_of_white_noise_and_more_for_a_wandering_one():
    rng = np.random.default_rng(1)
    white, walk = [], []
    for _ in range(200):
        noise = rng.standard_normal(200)
        white.append(power(*(5 + 0.1 * noise + 0.01 * np.arange(200))).noise_w(0, 20 * S))
        walk.append(
            power(*(5 + 0.1 * np.convolve(noise, np.ones(8) / np.sqrt(8), "same"))).noise_w(0, 20 * S)
        )
    assert np.sqrt(np.mean(np.square(white))) == pytest.approx(0.1 / np.sqrt(200), rel=0.15)
    assert np.median(walk) > 2 * np.median(white)


def world(**changes):
    return World(np.random.default_rng(7), **changes)


def test_a_pass_finds_the_truth():
    device = world(drift_w_s=0.002)
    instrument = Instrument(device, COUNTS._replace(rate_hz=100.0, wraps_at_j=7.0))
    found = figure.of(measured(device, instrument, SETTINGS), SETTINGS, instrument.traits)
    assert found.energy["verdict"] == "TRUSTED", found.energy
    assert found.energy["net_mj"] == pytest.approx(device.net_j * 1e3, rel=1e-3)
    assert found.energy["gross_mj"] == pytest.approx((2.0 + 1.5) * 20, rel=0.05)
    assert len(found.energy["repeats_mj"]) == 5
    assert [each.rule for each in found.evidence] == [
        "energy-gaps",
        "energy-idle",
        "energy-resolution",
        "energy-spread",
    ]
    assert all(each.passed for each in found.evidence)


def test_a_stretch_grows_for_a_slow_meter_and_a_coarse_one():
    device = world()
    slow = Instrument(device, WATTS._replace(rate_hz=2.0))
    repeats = measured(device, slow, replace(SETTINGS, min_readings=40))
    assert 22 <= repeats[0].busy_s < 22.1
    assert not any(repeat.problem for repeat in repeats)
    coarse = Instrument(device, WATTS._replace(coarse=True))
    assert 30 <= measured(device, coarse, replace(SETTINGS, coarse_busy_ms=30_000))[0].busy_s < 30.1


def test_a_model_slower_than_a_stretch_still_runs_often_enough():
    device = world(inference_s=2.0)
    repeats = measured(device, Instrument(device, WATTS), replace(SETTINGS, min_runs=7))
    assert [repeat.runs for repeat in repeats] == [7] * 5


def test_the_power_beyond_idle_must_stand_out():
    device = world(busy_w=0.004)
    noisy = Instrument(device, WATTS, noise_w=0.05)
    found = figure.of(measured(device, noisy, SETTINGS), SETTINGS, WATTS)
    assert found.energy["verdict"] == "BELOW_RESOLUTION"
    assert "lengthen busy_ms" in found.energy["message"]
    assert not {"net_mj", "gross_mj", "low_mj", "high_mj", "repeats_mj"} & set(found.energy)


def test_steps_too_wide_for_a_load_are_below_resolution():
    device = world(busy_w=0.4)
    steps = Instrument(device, WATTS._replace(resolution=0.5))
    found = figure.of(measured(device, steps, SETTINGS), SETTINGS, steps.traits)
    assert found.energy["verdict"] == "BELOW_RESOLUTION", found.energy


def repeat(net_w=1.0, **changes):
    before = changes.pop("before_w", 2.0)
    plain = {"runs": 100, "busy_s": 10.0, "idle_s": 5.0, "after_w": 2.0, "noise_w": 1e-3, "rate_hz": 10.0}
    made = Repeat(**(plain | {"before_w": before} | changes))
    return replace(made, busy_w=made.idle_w + net_w)


def of(found, **changes):
    return figure.of(found, replace(SETTINGS, **changes), WATTS)


def broken(found):
    return [each.rule for each in found.evidence if not each.passed]


def test_the_figure_is_the_median_and_its_interval_students():
    nets = [1.00, 1.01, 0.98, 1.02, 0.99]
    energy = of([repeat(net) for net in nets]).energy
    assert energy["net_mj"] == pytest.approx(100.0)
    assert energy["gross_mj"] == pytest.approx(300.0)
    assert (energy["idle_mw"], energy["runs"]) == (2000.0, 500)
    half = (
        stats.t.ppf(0.975, 4) * np.sqrt(np.pi / 2) * np.std([100 * net for net in nets], ddof=1) / np.sqrt(5)
    )
    assert energy["high_mj"] - energy["net_mj"] == pytest.approx(half)
    assert energy["net_mj"] - energy["low_mj"] == pytest.approx(half)
    wider = of([repeat(net) for net in nets], confidence=0.99).energy
    assert wider["high_mj"] > energy["high_mj"]


def test_a_single_repeat_is_as_sure_as_its_own_scatter():
    energy = of([repeat()], repeats=1).energy
    assert energy["high_mj"] - energy["net_mj"] == pytest.approx(stats.t.ppf(0.975, 5) * 1e-3 * 100)


def test_a_repeat_whose_idles_differ_is_left_out():
    found = of([repeat(), repeat(1.01), repeat(0.99), repeat(), repeat(5.0, before_w=4.0)])
    assert found.energy["verdict"] == "TRUSTED"
    assert len(found.energy["repeats_mj"]) == 4
    assert "1 of 5 repeats" in found.evidence[1].text


def test_too_few_steady_repeats_are_unstable():
    found = of([repeat(), repeat(1.01), *[repeat(before_w=2.3)] * 3])
    assert found.energy["verdict"] == "UNSTABLE"
    assert broken(found) == ["energy-idle"]
    assert len(found.energy["repeats_mj"]) == 5
    assert "max_idle_change" in found.energy["message"]


def test_repeats_that_disagree_are_unstable():
    found = of([repeat(1.0), repeat(1.2), repeat(1.0), repeat(1.1), repeat(1.05)])
    assert (found.energy["verdict"], broken(found)) == ("UNSTABLE", ["energy-spread"])
    assert "net_mj" in found.energy


def test_repeats_that_are_all_over_the_place_are_no_figure():
    found = of([repeat(1.0), repeat(-1.0), repeat(3.0), repeat(0.1), repeat(2.0)], max_spread=9.0)
    assert (found.energy["verdict"], broken(found)) == ("BELOW_RESOLUTION", ["energy-resolution"])


def test_gaps_in_some_repeats_and_in_most():
    bad = repeat(problem="the battery is charging: unplug it", unseen=1.0)
    assert of([repeat(), bad, repeat(1.01), repeat(0.99), bad]).energy["verdict"] == "TRUSTED"
    found = of([repeat(), bad, repeat(1.01), bad, bad])
    assert (found.energy["verdict"], broken(found)) == ("UNSTABLE", ["energy-gaps"])
    assert "unplug it" in found.energy["message"]
    none = of([bad] * 5)
    assert none.energy["verdict"] == "UNAVAILABLE"
    assert "net_mj" not in none.energy


def times(busy=(5, 15), end=20):
    return Times(0, busy[0] * S, busy[1] * S, end * S, 100)


@pytest.mark.parametrize(
    ("trace", "words"),
    [
        (power(), "no readings"),
        (power(*[1.0] * 30), "too few readings while idle"),
        (power(*[1.0] * 400, within_ns=round(0.2 * S)), "dated to within 200 ms"),
        (power(*[1.0] * 10, apart_s=2.1), "5 readings in the busy stretch"),
    ],
)
def test_a_repeat_that_cannot_be_used_says_why(trace, words):
    assert words in look(trace, times(), 20).problem


def dated(within_ms, count=400):
    """Ten readings of 1 W a second, those at some places dated to within so many ms, the others to within 2."""
    return Trace([Reading(k * S // 10, 1.0, within_ms.get(k, 2) * 1_000_000) for k in range(count)], WATTS)


@pytest.mark.parametrize("place", [25, 50, 100, 101, 160])
def test_a_reading_that_hangs_is_left_out_and_spoils_no_repeat(place):
    trace = dated({place: 450})
    assert len(trace) == 399
    assert trace.within_ns == 2_000_000
    found = look(trace, times(), 20)
    assert found.problem == ""
    assert found.unseen == 0.0
    assert found.busy_w == pytest.approx(1.0)


def test_readings_that_hang_one_after_the_other_are_a_gap():
    assert look(dated(dict.fromkeys(range(80, 84), 450)), times(), 20).problem == ""
    assert "said nothing in 21%" in look(dated(dict.fromkeys(range(80, 100), 450)), times(), 20).problem


def test_readings_that_are_usually_vague_are_kept_and_judged():
    slow = dated(dict.fromkeys(range(400), 150) | {7: 200})
    assert (len(slow), slow.within_ns) == (400, 200_000_000)
    assert "dated to within 200 ms" in look(slow, times(), 20).problem


def test_a_hiccup_that_matters_to_nobody_is_no_gap():
    assert len(dated({50: 9})) == 400
    assert len(Trace([Reading(0, 1.0, 5 * S)], WATTS)) == 1


def test_a_counter_loses_nothing_by_a_reading_left_out():
    readings = [Reading(k * S // 10, 0.5 * k, 450_000_000 if k == 60 else 0) for k in range(200)]
    trace = Trace(readings, COUNTS)
    assert len(trace) == 199
    assert trace.watts(5 * S, 15 * S) == pytest.approx(5.0)


def test_a_reading_that_failed_is_a_gap_and_its_cause_is_told():
    whole = power(*[1.0] * 400)
    assert look(whole, times(), 20, "the bus did not answer").problem == ""
    holes = Trace([Reading(k * S // 10, 1.0) for k in range(400) if not 80 <= k < 100], WATTS)
    assert look(holes, times(), 20, "the bus did not answer").problem == "the bus did not answer"
    assert "said nothing in 21% of a stretch" in look(holes, times(), 20).problem


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"idle_ms": 0}, "idle_ms is 0"),
        ({"busy_ms": float("inf")}, "busy_ms is inf"),
        ({"min_readings": 0}, "min_readings"),
        ({"repeats": 0}, "repeats"),
        ({"confidence": 1.0}, "confidence"),
        ({"max_spread": -0.1}, "max_spread"),
        ({"min_snr": float("nan")}, "min_snr"),
    ],
)
def test_settings_that_make_no_sense_are_named(changes, words):
    assert EnergySettings().problem() is None
    assert words in replace(EnergySettings(), **changes).problem()


def test_how_long_a_pass_takes():
    settings = EnergySettings()
    assert settings.pass_ms(100.0, coarse=False) == 5 * (5000 + 10_000 + 5000)
    assert settings.pass_ms(1.0, coarse=True) == pytest.approx(5 * (8000 + 110_000 + 8000))
    assert settings.pass_ms(0.0, coarse=True) == 5 * (5000 + 60_000 + 5000)
    assert EnergySettings.from_json({"meter": "m", "repeats": 3}) == EnergySettings("m", repeats=3)


@pytest.mark.parametrize("kind", [COUNTER, POWER])
def test_the_interval_holds_the_truth_as_often_as_it_says(kind):
    """A small version of tests/benchmarks/energy_truth.py; seeded, so it cannot fail by chance."""
    inside = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        device = World(rng, wander_w=0.005, drift_w_s=rng.normal(0, 4e-4), unsteady=0.005)
        traits = Traits("m", "board", kind, 20.0, 1e-4, 9.0 if kind == COUNTER else 0.0)
        instrument = Instrument(device, traits, noise=0.01, gap_chance=0.02)
        energy = figure.of(measured(device, instrument, SETTINGS), SETTINGS, traits).energy
        inside.append(energy["low_mj"] <= device.net_j * 1e3 <= energy["high_mj"])
    assert np.mean(inside) >= 0.9
