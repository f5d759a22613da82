"""Parts of the daemon that need no process: settings, log lines, notifications, checks, backups, what is collected."""

import asyncio
import json
import logging
import os
import socket
import time
from contextlib import closing

import pytest
from prometheus_client import generate_latest

from hilnas.cli.device import seconds
from hilnas.daemon.api_searches import RESULT_FILES
from hilnas.daemon.check import back_up, check_lab, check_store
from hilnas.daemon.client import DaemonError, Where, daemon_at
from hilnas.daemon.lab import Lab, default_folder
from hilnas.daemon.logs import JsonLines
from hilnas.daemon.metrics import Metrics
from hilnas.daemon.notify import keep_alive, notify
from hilnas.daemon.searches import Searches, SearchRequestError, UnknownSearchError
from hilnas.daemon.service import for_months
from hilnas.daemon.warden import Warden
from hilnas.farm import Farm
from hilnas.farm.book import Hold
from hilnas.options import OptionsError
from hilnas.store import EventKind, Record, StoreError
from hilnas.store.garbage import collect
from hilnas.store.lab import SearchStatus, Submissions

RECIPE = {"task": {"name": "digits"}, "objective": [{"quantity": "accuracy"}], "search": {"name": "one"}}


def settings(folder, text):
    (folder / "daemon.toml").write_text(text)
    return Lab.open(folder)


def test_settings_that_are_wrong_are_named_with_the_remedy(tmp_path):
    for text, said in (
        ("listn = ''", 'did you mean "listen"'),
        ("searches = 0", "greater than or equal to 1"),
        ("listen = 'nowhere'", "an address and a port"),
        ("[user_weights]\nann = 0", "the weight of ann"),
        ("=", "is no TOML"),
    ):
        with pytest.raises(OptionsError, match=said):
            settings(tmp_path, text)
    assert settings(tmp_path, "").options.searches == 2


def test_a_labs_token_is_made_once_and_is_its_owners(tmp_path):
    lab = Lab.open(tmp_path)
    token = lab.token()
    assert len(token) > 30
    assert lab.token() == token
    assert lab.token_file.stat().st_mode & 0o777 == 0o600


def test_where_a_lab_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("HILNAS_LAB", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("HILNAS_LAB")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "hilnas/lab"


def test_a_log_line_is_an_object_with_what_was_given(tmp_path):
    record = logging.LogRecord("hilnas.x", logging.INFO, "", 1, "search %s", ("a",), None)
    record.user = "ann"
    told = json.loads(JsonLines().format(record))
    assert (told["message"], told["user"], told["level"], told["logger"]) == (
        "search a",
        "ann",
        "info",
        "hilnas.x",
    )
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    assert "ZeroDivisionError" in json.loads(JsonLines().format(record))["traceback"]


def test_systemd_is_told_that_the_loop_turns(monkeypatch, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1", "STATUS=well")
        assert listener.recv(100) == b"READY=1\nSTATUS=well"
        monkeypatch.setenv("WATCHDOG_USEC", "20000")

        async def alive():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(keep_alive(), 0.05)

        asyncio.run(alive())
        assert listener.recv(100) == listener.recv(100) == b"WATCHDOG=1"
    notify("READY=1")  # nobody listens any more, which is no error


def test_metrics_tell_devices_jobs_and_searches(tmp_path):
    async def main():
        lab = Lab.open(tmp_path)
        with closing(Record(lab.store)) as record:
            farm = Farm(lab.models, None)
            submissions = Submissions(record)
            submissions.add("one", 0, RECIPE, {}, "ann", "normal", 1.0)
            farm.counts["jobs", "trusted"] = 3
            farm.counts["faults", "pi"] = 2
            metrics = Metrics(farm, Searches(lab, submissions, farm))
            farm.leases.on_given(0.02)
            return generate_latest(metrics.registry).decode()

    text = asyncio.run(main())
    for line in (
        'hilnas_jobs_total{verdict="trusted"} 3.0',
        'hilnas_device_faults_total{device="pi"} 2.0',
        'hilnas_searches{status="QUEUED"} 1.0',
        "hilnas_jobs_waiting 0.0",
        'hilnas_job_wait_seconds_bucket{le="0.025"} 1.0',
    ):
        assert line in text


def filled(tmp_path):
    lab = Lab.open(tmp_path / "lab")
    lab.folder.mkdir(exist_ok=True)
    digest = lab.models.put(b"model")
    with closing(Record(lab.store)) as record:
        search = Submissions(record).add("one", 0, RECIPE, {}, "ann", "normal", 1.0).search
        payload = {"model": {"sha256": digest, "bytes": 5}}
        for trial in range(200):
            record.append(search.id, EventKind.EXPORTED, trial, payload=payload)
    return lab, digest


def test_a_damaged_record_is_refused_and_left_as_it_is(tmp_path):
    lab, _ = filled(tmp_path)
    assert list(check_lab(lab)) == []
    path = lab.folder / "record.sqlite"
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 12] = os.urandom(4096 * 9)
    path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="put it back from a backup"):
        check_store(lab.store)
    (problem,) = check_lab(lab)
    assert "is damaged" in problem
    assert path.read_bytes() == before
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="damaged"):
        check_store(lab.store)


def test_torn_and_missing_models_are_found(tmp_path):
    lab, digest = filled(tmp_path)
    other = lab.models.put(b"another")
    lab.models.path(other).write_bytes(b"torn")
    lab.models.path(digest).unlink()
    told = list(check_lab(lab))
    assert len(told) == 2
    assert other in told[0]
    assert f"model {digest} of the record is missing" in told[1]


def test_a_backup_is_a_lab_with_its_secrets_kept(tmp_path):
    lab, digest = filled(tmp_path)
    token = lab.token()
    with closing(Record(lab.store)) as record:  # as while a daemon has it open
        assert back_up(lab, tmp_path / "copy") == []
        assert record.searches()
    copy = Lab.open(tmp_path / "copy")
    assert list(check_lab(copy)) == []
    assert copy.models.get(digest) == b"model"
    assert copy.token() == token
    assert copy.token_file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="is there already"):
        back_up(lab, tmp_path / "copy")


def test_models_that_nobody_refers_to_go_when_they_are_old(tmp_path):
    lab, digest = filled(tmp_path)
    old, young = lab.models.put(b"old"), lab.models.put(b"young")
    past = time.time() - 40 * 86_400
    for each in (old, digest):
        os.utime(lab.models.path(each), (past, past))
    with closing(Record(lab.store)) as record:
        assert collect(lab.models, record.model_digests(), 30) == (1, 3)
    assert not lab.models.path(old).exists()
    assert lab.models.path(young).exists()
    assert lab.models.path(digest).exists()


def test_a_daemon_that_is_not_there_is_named_with_the_remedy(tmp_path):
    with pytest.raises(DaemonError, match="start it with `hilnas daemon`"), daemon_at(Where(lab=tmp_path)):
        pass
    with pytest.raises(DaemonError, match="certificate"), daemon_at(Where(address="host:1")):
        pass


def test_what_is_asked_of_a_search_must_fit_its_status(tmp_path):
    async def main():
        lab = Lab.open(tmp_path)
        with closing(Record(lab.store)) as record:
            submissions = Submissions(record)
            added = submissions.add("one", 0, RECIPE, {}, "ann", "normal", 1.0)
            submissions.change(added, SearchStatus.FINISHED)
            searches = Searches(lab, submissions, Farm(lab.models, None))
            one = searches.find("one")
            assert searches.find(one.id[:6]) is one
            for action in ("pause", "resume", "cancel", "explode"):
                with pytest.raises(SearchRequestError):
                    await searches.change(one, action)
            with pytest.raises(UnknownSearchError, match="hilnas search list"):
                searches.find("two")
            with pytest.raises(OptionsError, match="unknown"):
                searches.submit({**RECIPE, "objectiv": 1}, "ann", "normal", 1.0)
            for wrong in (("urgent", 1.0), ("normal", -1.0)):
                with pytest.raises((SearchRequestError, ValueError)):
                    searches.submit(RECIPE, "ann", *wrong)
            one.device_s, one.news = 12.5, {"trials": 3}
            await searches.close()
            again = Searches(lab, submissions, Farm(lab.models, None)).find("one")
            assert (again.device_s, again.news) == (12.5, {"trials": 3})
            (lab.search_folder(one.id) / "progress.json").write_text("{torn")
            assert Searches(lab, submissions, Farm(lab.models, None)).find("one").news == {}
            await searches.change(one, "remove")
            assert not lab.search_folder(one.id).exists()
            assert submissions.all() == []
            assert searches.all() == []

    asyncio.run(main())


def test_a_search_that_fails_on_a_full_disk_has_failed_and_that_is_kept_later(tmp_path, monkeypatch):
    """Its folder cannot be made, and nothing can be written to the record either."""

    def full(*_):
        raise StoreError("database or disk is full")

    async def main():
        lab = Lab.open(tmp_path)
        lab.searches.write_text("no folder")
        with closing(Record(lab.store)) as record:
            submissions = Submissions(record)
            searches = Searches(lab, submissions, Farm(lab.models, None))
            one = searches.submit(RECIPE, "ann", "normal", 1.0)
            with monkeypatch.context() as patch:
                patch.setattr(submissions, "change", full)
                await asyncio.wait_for(one.keeper, 10)
                assert one.submission.status is SearchStatus.FAILED
                with pytest.raises(StoreError):
                    await searches.change(one, "resume")
                assert one.submission.status is SearchStatus.FAILED
            assert [each.status for each in submissions.all()] == [SearchStatus.RUNNING]
            await searches.close()
            assert [each.status for each in submissions.all()] == [SearchStatus.FAILED]
            assert "could not be started" in submissions.all()[0].message

    asyncio.run(main())


def test_what_breaks_off_is_begun_again():
    begun = []

    async def work():
        begun.append(1)
        if len(begun) < 3:
            raise StoreError("disk is full")

    asyncio.run(asyncio.wait_for(for_months(work, 0.01), 5))
    assert len(begun) == 3


def test_a_clock_that_was_set_back_keeps_no_device_in_quarantine(tmp_path, monkeypatch):
    async def main():
        warden, tried = Warden(Farm(Lab.open(tmp_path).models, None), 0.2), []

        async def note(name):
            tried.append(name)

        monkeypatch.setattr(warden, "_try", note)
        since_unix = time.time() + 7200  # it was put away before the clock was set back
        warden._try_if_due("board", Hold.QUARANTINED, since_unix)
        await asyncio.sleep(0.1)
        warden._try_if_due("board", Hold.QUARANTINED, since_unix)
        assert tried == [], "it is left to settle"
        await asyncio.sleep(0.2)
        warden._try_if_due("board", Hold.QUARANTINED, since_unix)
        await asyncio.sleep(0)
        assert tried == ["board"]

    asyncio.run(main())


@pytest.mark.parametrize(("text", "wanted"), [("30m", 1800), ("2h", 7200), ("1.5d", 129_600)])
def test_times_as_people_write_them(text, wanted):
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "0m", "2 weeks"])
def test_what_is_no_time(text):
    with pytest.raises(OptionsError, match="30m, 2h or 3d"):
        seconds(text)


def test_results_have_plain_names():
    assert all("/" not in name and not name.startswith(".") for name in RESULT_FILES)
