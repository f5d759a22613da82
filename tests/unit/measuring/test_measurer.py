"""Which sessions are taken, again, or thrown away; the farm is a script of sessions."""

import asyncio

import pytest

from hilnas.farm import Fidelity, MeasurementOptions
from hilnas.measuring import Measurer, compare
from hilnas.trial import Verdict
from tests.unit.measuring.sessions import DIGEST, OPTIONS, session


class Script:
    """Answers with the sessions it was given, one after another."""

    def __init__(self, *sessions):
        self.sessions, self.asks = list(sessions), []

    async def measure(self, ask):
        self.asks.append(ask)
        return self.sessions.pop(0)


def measure(*sessions, fidelity=Fidelity.FULL, options=OPTIONS):
    script, pauses = Script(*sessions), []

    async def sleep(seconds):
        pauses.append(seconds)

    measurer = Measurer(script, options, sleep)
    return asyncio.run(measurer.measure(DIGEST, "toy", fidelity)), script, pauses


def test_what_an_old_agent_cannot_check_is_not_asked_again():
    found, script, pauses = measure(*[session(broken=["agent"]) for _ in range(3)])
    assert found.verdict is Verdict.UNSTABLE
    assert len(script.asks) == 3
    assert not pauses


def test_three_sound_sessions_are_enough():
    found, script, pauses = measure(session(), session(), session())
    assert found.verdict is Verdict.TRUSTED
    assert len({ask.job_id for ask in script.asks}) == 3
    assert not pauses


def test_only_what_is_in_doubt_is_taken_again_after_a_pause():
    found, _, pauses = measure(session(), session(broken=["quiet"]), session(2.01), session(1.99))
    assert found.verdict is Verdict.TRUSTED
    assert sorted(each.median_ms for each in found.sessions) == [1.99, 2.0, 2.01]
    assert pauses == [1.0]
    assert found.device_ms == 40


def test_sound_sessions_that_disagree_are_all_taken_again():
    found, _, _ = measure(session(2), session(3), session(2), session(2), session(2), session(2))
    assert found.verdict is Verdict.TRUSTED
    assert [each.median_ms for each in found.sessions] == [2, 2, 2]


def test_after_two_more_attempts_it_is_unstable_and_the_pauses_double():
    found, _, pauses = measure(*[session(broken=["drift"]) for _ in range(9)])
    assert found.verdict is Verdict.UNSTABLE
    assert pauses == [1.0, 2.0]
    assert "drift went wrong" in found.message


def test_another_board_starts_anew():
    found, script, _ = measure(
        session(device="one"), session(device="one", broken=["quiet"]), session(device="one"),
        session(2.5, device="two"), session(2.5, device="two"), session(2.5, device="two"),
    )  # fmt: skip
    assert found.device == "two"
    assert [ask.prefer for ask in script.asks] == ["", "one", "one", "one", "two", "two"]
    assert [each.median_ms for each in found.sessions] == [2.5, 2.5, 2.5]


def test_a_failure_is_the_answer():
    found, script, _ = measure(session(), session(verdict=Verdict.CRASHED))
    assert found.verdict is Verdict.CRASHED
    assert len(script.asks) == 2


def test_a_screen_is_one_session_and_one_more_at_most():
    found, _, _ = measure(session(broken=["quiet"]), session(), fidelity=Fidelity.SCREEN)
    assert found.verdict is Verdict.TRUSTED
    assert len(found.sessions) == 1


def test_fidelities_and_thresholds_have_hashes_of_their_own():
    changed = MeasurementOptions(rules={"max_drift": 0.02})
    hashes = {o.protocol(f).hash for o in (OPTIONS, changed) for f in Fidelity}
    assert len(hashes) == 4
    assert MeasurementOptions(deadline_s=5).protocol().hash == OPTIONS.protocol().hash


def compared(*sessions):
    script = Script(*sessions)
    found = asyncio.run(compare(Measurer(script, OPTIONS), DIGEST, "cd" * 32, "toy", Fidelity.FULL))
    return found, script


def test_pairs_alternate_their_order():
    found, script = compared(*[session(2), session(3), session(3), session(2)] * 2)
    assert [ask.model_sha256 == DIGEST for ask in script.asks] == [True, False, False, True] * 2
    assert found.ratio == pytest.approx(1.5)
    assert found.differ
    assert found.pairs == 4


def test_a_spoilt_pair_is_taken_again():
    good = [session(2), session(3), session(3), session(2)]
    found, script = compared(
        session(2, broken=["quiet"]), session(3), *good[2:], *good, session(2), session(3)
    )
    assert len(script.asks) == 10
    assert found.first.verdict is Verdict.TRUSTED


def test_a_model_that_fails_has_no_ratio():
    found, _ = compared(session(), session(verdict=Verdict.UNSUPPORTED_OP))
    assert (found.ratio, found.differ) == (None, None)
    assert found.second.verdict is Verdict.UNSUPPORTED_OP


def test_equal_models_do_not_differ():
    found, _ = compared(*[session(2), session(2.01), session(2.0), session(2.0)] * 2)
    assert found.differ is False
