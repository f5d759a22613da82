"""Is what a daemon has kept whole? Looked at before it starts, and by `hilnas daemon check` in full."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, make_url

from hilnas.daemon.lab import Lab
from hilnas.store import ModelFiles, Record, StoreError
from hilnas.store.files import write_atomically


def sqlite_file(store: str | URL) -> Path | None:
    """Return the file of a record in SQLite; None for another database, or one in memory."""
    url = make_url(store)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


def check_store(store: str | URL, whole: bool = False) -> None:
    """See that a record in SQLite is sound, the `whole` of it or what can be seen quickly. StoreError if not."""
    path = sqlite_file(store)
    if path is None or not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as connection:
            rows = connection.execute("PRAGMA integrity_check" if whole else "PRAGMA quick_check")
            said = [line for row in rows for line in str(row[0]).splitlines()]
    except sqlite3.DatabaseError as error:
        said = [str(error)]
    if said != ["ok"]:
        more = f"; {len(said) - 3} more" if len(said) > 3 else ""
        raise StoreError(
            f"the record {path} is damaged ({'; '.join(said[:3])}{more}): put it back from a backup (`hilnas daemon backup` "
            f"made it; remove {path.name}-wal and -shm beside it), or move it away to begin anew. Nothing was changed"
        )


def check_lab(lab: Lab, looked_at: Callable[[int], object] = lambda count: None) -> Iterator[str]:
    """Yield what is wrong with a lab's folder, in sentences; `looked_at` is told of each model file."""
    try:
        check_store(lab.store, whole=True)
        record = Record(lab.store)
    except StoreError as error:
        yield str(error)
        return
    with closing(record):
        wanted = set(record.model_digests())
    for files in (lab.models, lab.examples):
        yield from _torn(files, looked_at)
    for digest in sorted(wanted):
        if not lab.models.path(digest).exists():
            yield f"model {digest} of the record is missing: put it back from a backup"


def _torn(files: ModelFiles, looked_at: Callable[[int], object]) -> Iterator[str]:
    for path in sorted(files.folder.glob(f"*/*{files.suffix}")):
        looked_at(1)
        try:
            files.get(path.name.removesuffix(files.suffix))
        except (OSError, ValueError) as error:
            yield str(error)


def back_up(lab: Lab, target: Path) -> list[str]:
    """Copy the record, as it is at one moment, and settings into a new folder; return what was left out.

    The daemon may run meanwhile. StoreError when the folder is there already, or the record is damaged.
    """
    source = sqlite_file(lab.store)
    if target.exists():
        raise StoreError(f"{target} is there already: name a new folder")
    target.mkdir(parents=True, mode=0o700)
    left_out = []
    if source is None:
        left_out.append(
            f"the record, which is not a file: back up {make_url(lab.store).render_as_string()} by its own means"
        )
    elif source.exists():
        check_store(lab.store)
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target / source.name)) as new:
            old.backup(new)
    for path in sorted(lab.folder.rglob("*")):
        inside = path.relative_to(lab.folder)
        if not path.is_file() or path.is_symlink() or inside.parts[0] in ("lock", "agent-cache", "agent.log"):
            continue
        if source is not None and path.name.startswith(source.name) and path.parent == source.parent:
            continue
        copy = target / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(copy, path.read_bytes())
        copy.chmod(path.stat().st_mode & 0o777)
    return left_out
