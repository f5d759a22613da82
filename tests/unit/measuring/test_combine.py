from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilnas.measuring import combine
from hilnas.measuring.compare import paired_ratio
from hilnas.trial import Evidence, Verdict
from tests.unit.measuring.sessions import FULL, SCREEN, session


def rules(measurement):
    return {each.rule: each for each in measurement.evidence}


def test_the_median_of_the_sessions_medians():
    whole = combine([session(2.0), session(2.02), session(1.99)], FULL)
    assert whole.verdict is Verdict.TRUSTED
    assert whole.latency.median_ms == 2.0
    assert whole.latency.low_ms < 2.0 < whole.latency.high_ms
    assert [each.median_ms for each in whole.sessions] == [2.0, 2.02, 1.99]
    assert len(whole.latency.samples_ns) == 60
    assert whole.latency.set_aside == (0, 20, 40)
    assert whole.device_ms == 30
    assert whole.message == ""


def test_sessions_that_disagree_are_unstable_and_say_by_how_much():
    whole = combine([session(2.0), session(2.2), session(2.0)], FULL)
    assert whole.verdict is Verdict.UNSTABLE
    assert "3 sessions are 10.0% apart, at most 3.0% allowed" in whole.message
    assert rules(whole)["session-spread"].value == pytest.approx(0.1)
    assert whole.latency.high_ms >= 2.2


def test_too_few_sessions_are_unstable():
    whole = combine([session(), session()], FULL)
    assert whole.verdict is Verdict.UNSTABLE
    assert "2 sound sessions of 3" in whole.message


def test_a_broken_rule_is_told_once_with_its_worst_session():
    sessions = [session(broken=["quiet"]), session(), session(broken=["quiet"])]
    whole = combine(sessions, FULL)
    assert whole.message == "in 2 of 3 sessions, at worst: quiet went wrong"
    assert [each.trusted for each in whole.sessions] == [False, True, False]


def test_what_the_preflight_found_is_told_and_does_not_spoil():
    seen = Evidence("governor", False, "powersave", preflight=True)
    one = session()
    whole = combine([replace(one, evidence=(*one.evidence, seen))], SCREEN)
    assert whole.verdict is Verdict.TRUSTED
    assert not rules(whole)["governor"].passed


@pytest.mark.parametrize(
    ("limit", "passed", "worst"), [(0.97, False, 0.5), (0.4, True, 0.5), (None, True, 0.95)]
)
def test_the_worst_of_a_rule_that_bounds_from_below_is_the_lowest(limit, passed, worst):
    found = [
        replace(session(), evidence=(Evidence("frequency", passed, f"ran at {value}", value, limit),))
        for value in (0.95, 0.5, 0.96)
    ]
    assert rules(combine(found, FULL))["frequency"].value == worst


def test_an_unstable_figure_has_the_interval_of_all_that_was_seen():
    whole = combine([session(2.0, broken=["drift"])], SCREEN)
    assert whole.latency.low_ms == pytest.approx(0.98 * 2)
    assert whole.latency.high_ms == pytest.approx(1.05 * 2)


def test_a_session_alone_keeps_its_own_interval():
    whole = combine([session(2.0, half_width=0.01)], SCREEN)
    assert (whole.latency.low_ms, whole.latency.high_ms) == pytest.approx((1.98, 2.02))
    assert combine([session(2.0, half_width=0.03)], SCREEN).verdict is Verdict.UNSTABLE


def test_sessions_without_figures_are_refused():
    with pytest.raises(ValueError, match="every session must have a figure"):
        combine([session(verdict=Verdict.CRASHED)], SCREEN)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.floats(0.0001, 0.2))
def test_the_interval_holds_the_median(medians, half_width):
    latency = combine([session(median, half_width) for median in medians], FULL).latency
    assert latency.low_ms <= latency.median_ms <= latency.high_ms


def test_the_ratio_of_pairs_is_free_of_what_both_share():
    """A device that slows down by half in between: the ratio stays, since both sides slow down."""
    rng = np.random.default_rng(0)
    pairs = []
    for slow in (1.0, 1.0, 1.5, 1.5, 1.5):
        noise = 1 + 0.002 * rng.standard_normal(2)
        pairs.append((session(slow * noise[0]).latency, session(1.1 * slow * noise[1]).latency))
    ratio, low, high = paired_ratio(pairs)
    assert low < 1.1 < high
    assert ratio == pytest.approx(1.1, rel=0.01)
    assert high - low < 0.02
