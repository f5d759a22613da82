"""The record in a real PostgreSQL."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from hilnas.farm.book import Hold, KeptDevice
from hilnas.farm.lab_book import LabBook
from hilnas.store import EventKind, Record
from hilnas.store.lab import SearchStatus, Submissions
from tests.integration.labs import SETTINGS, Lab
from tests.integration.searches import recipe

pytest.importorskip("psycopg", reason="PostgreSQL is not used here: pip install psycopg[binary]")


@pytest.fixture(scope="module")
def url():
    """A server of our own, on a socket."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    bin_ = programs[-1].parent
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    become = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    shutil.chown(folder, user)
    try:
        _run(folder, *become, bin_ / "initdb", "-D", folder / "data", "-A", "trust", "-U", "hilnas")
        options = f"-c listen_addresses= -c unix_socket_directories={folder}"
        server = [*become, bin_ / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-o", options]
        _run(folder, *server, "start")
        try:
            yield f"postgresql+psycopg://hilnas@/postgres?host={folder}"
        finally:
            _run(folder, *server, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(folder, *words):
    # No pipes: the server would keep them open.
    subprocess.run([str(word) for word in words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def test_searches_events_devices_and_fences(url):
    record = Record(url)
    kept = Submissions(record)
    added = kept.add("one", 3, {"search": {"name": "one"}}, {}, "ann", "normal", 2.0)
    assert record.append(added.search.id, EventKind.SESSION_STARTED, key="0", payload={"a": [1]})
    assert not record.append(added.search.id, EventKind.SESSION_STARTED, key="0", payload={"a": [2]})
    (number, first), (_, second) = record.events_after(added.search.id, 0, 10)
    assert (first.kind, second.payload) == (EventKind.SEARCH_STARTED, {"a": [1]})
    assert len(record.events_after(added.search.id, number, 10)) == 1
    assert kept.change(added, SearchStatus.PAUSED, "why").status == "PAUSED"
    (found,) = kept.all()
    assert (found.user, found.weight, found.message) == ("ann", 2.0, "why")
    book = LabBook(record)
    first_fence = book.fences(5)
    assert book.fences(1) == first_fence + 5
    book.keep(KeptDevice("pi", "board", {"site": "cellar"}, Hold.DRAINING, "fan"))
    book.keep(KeptDevice("pi", "board", {"site": "attic"}))
    book.note("pi", "online", "boot")
    book.close()
    book = LabBook(record)
    assert [device.labels for device in book.devices()] == [{"site": "attic"}]
    assert [event.kind for event in book.history("pi", 5)] == ["online"]
    book.close()
    kept.remove(found)
    assert kept.all() == []
    record.close()


def test_a_daemon_with_a_search(url, tmp_path):
    with Lab(SETTINGS + f'store = "{url}"\n') as lab:
        search_id = lab.submit(recipe(tmp_path / "calls", trials=3))
        assert lab.finish(search_id).status == "FINISHED", lab.search(search_id).message
        assert (lab.results(search_id) / "model.tflite").exists()
