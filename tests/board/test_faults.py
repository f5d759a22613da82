"""Whatever breaks while a search runs on real boards, nothing is lost or doubled, and the result is the same."""

import signal
import sqlite3
import time
from contextlib import closing

import pytest

from tests.board.faults_lab import KINDS, Faults, FaultyLab, clock_library, outcome, powered, searches
from tests.board.lab import missing
from tests.integration.searches import QUICK

pytestmark = [pytest.mark.board, pytest.mark.slow]

TRIALS = 8


@pytest.fixture(scope="module")
def lab():
    if words := missing("amd64"):
        pytest.skip(words)
    with FaultyLab(port=50821, canary_minutes=0.02) as lab:
        yield lab


@pytest.fixture(scope="module")
def boards(lab):
    with powered(2, lab, "faulty", 190) as boards:
        yield boards


@pytest.fixture(scope="module")
def submit(lab, tmp_path_factory):
    """Submit the search; each time under another protocol, so that the record answers for no measurement."""
    numbers = iter(range(1000))

    def submit():
        data = searches(tmp_path_factory.mktemp("calls"), TRIALS, 0.3)[0]
        quick = {**QUICK, "max_sampling_ms": 300 + next(numbers)}
        data["final"] = {"top": 0}
        data["measurement"] |= {"screen": quick, "full": quick}
        return lab.submit(data)

    return submit


@pytest.fixture(scope="module")
def undisturbed(lab, boards, submit):
    search = submit()
    ended = lab.finish(search)
    assert ended.status == "FINISHED", ended.message
    return outcome(lab, search)


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_is_not_harmed(kind, lab, boards, submit, undisturbed):
    if "clock" in kind and clock_library() is None:
        pytest.skip("no C compiler to build the stepped clock with")
    search = submit()
    faults = Faults(lab, boards, seed=0, brief=True)

    def measuring():
        if lab.search(search).trials < 2:
            return None
        return next((board for board in boards if lab.device(board.name).state == "LEASED"), None)

    board = lab.wait_for(measuring, 60, "a measurement")
    assert lab.search(search).status == "RUNNING"
    getattr(faults, f"fault_{kind}")(board)
    finish(lab, faults, search)
    proposals, trials, steps = outcome(lab, search)
    assert (proposals, trials) == undisturbed[:2]
    assert max(steps.values()) == 1, "something was done twice"
    assert set(steps) == set(undisturbed[2]), "something was not done"
    lab.wait_for(lambda: all(lab.device(board.name).state == "READY" for board in boards), 60, "both boards")


def finish(lab, faults, search):
    """Wait until a search is through, and do meanwhile what a person would do."""
    ends = time.monotonic() + 180
    while lab.status() is None or lab.search(search).status != "FINISHED":
        faults.tend()
        assert time.monotonic() < ends, lab.log.read_text()[-3000:]
        time.sleep(0.3)


def test_a_torn_record_is_refused_and_goes_on_from_a_backup(lab, boards, submit, undisturbed, tmp_path):
    search = submit()
    lab.wait_for(lambda: lab.search(search).trials >= 2, 60, "two trials")
    copy = tmp_path / "copy"
    lab.hilnas("daemon", "backup", str(copy))
    lab.stop(signal.SIGKILL)
    record = lab.folder / "record.sqlite"
    with closing(sqlite3.connect(record)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with record.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (record.stat().st_size - 8192))
    torn = record.read_bytes()
    lab.start(wait=False)
    assert lab.process.wait(60) != 0
    said = lab.log.read_text().splitlines()[-1]
    assert "is damaged" in said and "hilnas daemon backup" in said
    assert record.read_bytes() == torn, "a daemon that refuses changes nothing"
    assert "is damaged" in lab.hilnas("daemon", "check", code=1)
    for rest in ("-wal", "-shm"):
        (lab.folder / f"record.sqlite{rest}").unlink(missing_ok=True)
    record.write_bytes((copy / "record.sqlite").read_bytes())
    lab.start()
    finish(lab, Faults(lab, boards, seed=0), search)
    proposals, trials, steps = outcome(lab, search)
    assert (proposals, trials) == undisturbed[:2]
    assert max(steps.values()) == 1
