"""Each rule, kept and broken."""

from array import array

import numpy as np
import pytest

from hilnas_agent.conditions import Reading
from hilnas_agent.protocol import Timing
from hilnas_agent.rules import Watched, drift_share, mad_share, outlier_share, session_evidence
from hilnas_agent.settings import Rules, Settings
from hilnas_agent.statistics import summarize

COOL = Reading(48.0, "performance", 1_500_000, 0.1, target_khz=1_500_000, throttle_bits=0)
RULES = Rules(max_slowdown=0.1)
STEADY = [1_000_000 + 1000 * (place % 7) for place in range(120)]


def told(
    samples=STEADY, before=COOL, after=COOL, rules=RULES, stationary=True, too_slow=False, aside=(), **seen
):
    timing = Timing(
        samples_ns=array("Q", samples),
        set_aside=array("L", aside),
        stationary=stationary,
        too_slow=too_slow,
    )
    facts = {
        "lowest_khz": 1_500_000,
        "switches": 0,
        "major_faults": 0,
        "neighbour_load": 0.0,
        "slowdown": 0.01,
    } | seen
    watched = Watched(before=before, after=after, neighbours_known=True, **facts)
    summary = summarize(np.array(timing.kept_ns()), 0.95, 200, 0)
    evidence = session_evidence(timing, summary, Settings(rules=rules), watched)
    return {each.rule: each for each in evidence}


def broken(**changes):
    return {name for name, each in told(**changes).items() if not each.passed}


def reading(**changes):
    return Reading(**{**COOL.__dict__, **changes})


def test_a_calm_session_keeps_every_rule():
    evidence = told()
    assert all(each.passed for each in evidence.values())
    assert not any(each.text.startswith("not checked") for each in evidence.values())


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("warm-up", {"stationary": False}),
        ("drift", {"samples": [1_000_000 + 600 * place for place in range(120)]}),
        ("spread", {"samples": [1_000_000, 1_000_000, 1_200_000, 1_210_000] * 30}),
        ("outliers", {"samples": STEADY[:110] + [1_500_000] * 10}),
        ("frequency", {"lowest_khz": 1_450_000}),
        ("throttling", {"after": reading(throttle_bits=0x4)}),
        ("throttling", {"after": reading(throttle_bits=0x40000)}),
        ("temperature", {"after": reading(temperature_c=56.5)}),
        ("switches", {"switches": 13}),
        ("page-faults", {"major_faults": 1}),
        ("swap", {"after": reading(swapped_pages=3)}),
        ("quiet", {"neighbour_load": 0.11}),
        ("speed", {"slowdown": 0.42}),
    ],
)
def test_a_rule_that_is_broken_is_named_with_value_limit_and_remedy(rule, changes):
    evidence = told(**changes)
    assert not evidence[rule].passed
    assert broken(**changes) <= {rule, "spread", "drift", "interval"}
    assert any(letter.isdigit() for letter in evidence[rule].text) or "firmware" in evidence[rule].text


def test_what_was_throttled_long_before_is_no_fault_of_this_session():
    sticky = reading(throttle_bits=0x50000)
    assert not broken(before=sticky, after=sticky)


def test_samples_set_aside_do_not_count():
    slow = STEADY[:100] + [9_000_000] * 20
    assert "outliers" in broken(samples=slow)
    assert not broken(samples=slow, aside=range(100, 120))


def test_what_a_device_cannot_tell_is_not_checked():
    mute = Reading(None, "", None, None)
    evidence = told(before=mute, after=mute, lowest_khz=None, slowdown=None)
    for rule in ("frequency", "throttling", "temperature", "speed"):
        assert evidence[rule].passed
        assert evidence[rule].text.startswith("not checked")


def test_a_warm_up_that_a_slow_model_cannot_show_is_not_checked():
    evidence = told(stationary=None, too_slow=True)["warm-up"]
    assert evidence.passed
    assert evidence.text.startswith("not checked")


def test_an_older_host_asks_for_the_interval_alone():
    assert set(told(rules=None, stationary=None)) == {"interval"}


def test_shares():
    flat = np.full(90, 100.0)
    assert (drift_share(flat), mad_share(flat), outlier_share(flat)) == (0, 0, 0)
    assert drift_share(np.r_[flat, flat * 1.1, flat * 1.1]) == pytest.approx(0.1)
    assert drift_share(flat[:6]) == 0
    assert outlier_share(np.r_[flat, [104] * 10]) == 0, "a hair above a flat line is no outlier"
    assert outlier_share(np.r_[flat, [106] * 10]) == pytest.approx(0.1)
