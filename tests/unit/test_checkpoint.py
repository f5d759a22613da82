"""Checkpoints on disks that do what disks do."""

import resource
from contextlib import contextmanager

from hilnas.executors import Checkpoint, report, save, saved


def test_what_was_saved_last_is_loaded_and_removed(tmp_path):
    kept = Checkpoint(tmp_path / "checkpoints" / "3")
    assert kept.load() is None
    kept.save(b"first")
    kept.save(b"second")
    assert Checkpoint(kept.path).load() == b"second"
    kept.remove()
    kept.remove()
    assert kept.load() is None
    assert list(kept.path.parent.iterdir()) == []


@contextmanager
def small_files():
    """Nothing longer than a kilobyte can be written, as on a disk that is full; no longer than need be: a log, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_the_older_one_stays(tmp_path, caplog):
    kept = Checkpoint(tmp_path / "work")
    with small_files():
        kept.save(b"small")
        kept.save(bytes(4096))
    assert kept.load() == b"small"
    assert str(kept.path) in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_where_nothing_can_be_kept_nothing_is_raised(tmp_path, caplog):
    (tmp_path / "file").touch()
    kept = Checkpoint(tmp_path / "file" / "work")
    kept.save(b"anything")
    assert kept.load() is None
    assert str(kept.path) in caplog.text


def test_what_a_killed_host_left_half_written_goes(tmp_path):
    (tmp_path / ".work.abc").write_bytes(bytes(10))
    (tmp_path / ".works.abc").write_bytes(bytes(10))
    kept = Checkpoint(tmp_path / "work")
    kept.save(b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"work", ".works.abc"}


def test_outside_a_worker_nobody_listens():
    report(0.5)
    save(b"anything")
    assert saved() is None
