import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from hilnas.store import EventKind, ModelFiles, Record, StoreError
from hilnas.store.codec import dump, load
from hilnas.store.files import write_atomically
from hilnas.store.lock import exclusive
from hilnas.store.tables import metadata
from hilnas.trial import Architecture, Latency, Measurement, Proposal, Verdict

MEASUREMENT = Measurement(
    "d", "pi", "a" * 64, "p", "r", Verdict.TRUSTED, latency=Latency(1, 0.9, 1.1, 1, 1, 1, 0, 2, 3, 4, (5, 6))
)


@pytest.fixture
def record(tmp_path):
    opened = Record.in_folder(tmp_path)
    yield opened
    opened.close()


def test_events_come_back_in_order_and_once(record):
    search = record.start_search("s", 0, {"a": 1}, {})
    assert record.append(search.id, EventKind.PROPOSED, 0, payload={"x": 1})
    assert not record.append(search.id, EventKind.PROPOSED, 0, payload={"x": 2})
    assert record.append(search.id, EventKind.PROPOSED, 1)
    kinds = [(event.kind, event.trial, event.payload) for event in record.events(search.id)]
    assert kinds == [
        (EventKind.SEARCH_STARTED, -1, {}),
        (EventKind.PROPOSED, 0, {"x": 1}),
        (EventKind.PROPOSED, 1, {}),
    ]


def test_listeners_hear_what_is_durable(record, tmp_path):
    heard = []

    def listen(event):
        with sqlite3.connect(tmp_path / "record.sqlite") as other:
            heard.append(
                other.execute("select count(*) from events where kind = ?", (event.kind,)).fetchone()[0]
            )

    record.listen(listen)
    record.start_search("s", 0, {}, {})
    assert heard == [1]


def test_a_measurement_is_kept_with_its_samples_and_found(record):
    search = record.start_search("s", 0, {}, {})
    assert record.append_measurement(search.id, 0, MEASUREMENT, "default x1")
    assert not record.append_measurement(search.id, 0, MEASUREMENT, "default x1")
    assert record.append_measurement(search.id, 1, MEASUREMENT, "default x1")
    assert record.find_measurement("a" * 64, "pi", "p", "default x1") == MEASUREMENT
    assert record.find_measurement("a" * 64, "pi", "p", "default x2") is None
    (event, _) = [e for e in record.events(search.id) if e.kind is EventKind.MEASURED]
    assert event.payload["latency"]["samples_ns"] == []


def test_migrations_lead_to_the_tables(record):
    with record._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_corrupt_record_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "record.sqlite").write_bytes(b"SQLite format 3\x00" + os.urandom(5000))
    with pytest.raises(StoreError, match="backup"):
        Record.in_folder(tmp_path)


def test_values_survive_json():
    proposal = Proposal(
        Architecture("s", (("a", 1), ("b", True), ("c", "x"), ("d", 0.5))), 3, (-0.5, -1.5), "state"
    )
    assert load(Proposal, dump(proposal)) == proposal
    assert load(Measurement, dump(MEASUREMENT)) == MEASUREMENT


def test_model_files_are_named_by_content(tmp_path):
    models = ModelFiles(tmp_path)
    digest = models.put(b"model")
    assert models.put(b"model") == digest
    assert models.get(digest) == b"model"
    models.path(digest).write_bytes(b"other")
    with pytest.raises(ValueError, match="torn"):
        models.get(digest)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "/x"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match="no SHA-256"):
        ModelFiles(tmp_path).path(name)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "model", b"content")
    assert list(tmp_path.iterdir()) == []


def test_a_really_full_disk_is_a_clear_error(tmp_path):
    """The record on /dev/full's kin: SQLite with a page limit that is reached."""
    record = Record.in_folder(tmp_path)
    search = record.start_search("s", 0, {}, {})
    with record._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(StoreError, match="free space"), record._translated():
            for number in range(1000):
                connection.exec_driver_sql(
                    "insert into events (search_id, trial, kind, key, at_unix, payload) values (?, ?, ?, ?, ?, ?)",
                    (search.id, number, "x", "", 0.0, "x" * 4000),
                )
    record.close()


def test_a_folder_belongs_to_one_process_and_is_freed_by_its_death(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c",
         "import sys, time\nfrom pathlib import Path\nfrom hilnas.store.lock import exclusive\n"
         "with exclusive(Path(sys.argv[1])):\n print('held', flush=True)\n time.sleep(60)", str(tmp_path)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match=str(holder.pid)), exclusive(tmp_path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with exclusive(Path(tmp_path)):
        pass


def test_a_file_that_cannot_be_written_is_named_not_its_temporary_one(tmp_path):
    with pytest.raises(OSError, match="No such file or directory") as caught:
        write_atomically(tmp_path / "none" / "net.tflite", b"x")
    assert caught.value.filename == str(tmp_path / "none" / "net.tflite")
