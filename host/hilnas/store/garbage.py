"""Removes model files that no search refers to any more."""

import time
from collections.abc import Container, Iterator
from pathlib import Path

from hilnas.store.files import ModelFiles

DAY_S = 86_400.0


def unreachable(files: ModelFiles, reachable: Container[str], days: float) -> Iterator[Path]:
    """Yield files older than so many days that are not `reachable`; a younger one may not be in a record yet."""
    before = time.time() - days * DAY_S
    for path in files.folder.glob(f"??/*{files.suffix}"):
        if path.name.removesuffix(files.suffix) in reachable:
            continue
        try:
            if path.stat().st_mtime < before:
                yield path
        except FileNotFoundError:
            continue


def collect(files: ModelFiles, reachable: Container[str], days: float) -> tuple[int, int]:
    """Remove what is unreachable; return how many files and bytes that were."""
    count = size = 0
    for path in unreachable(files, reachable, days):
        size += path.stat().st_size
        path.unlink(missing_ok=True)
        count += 1
    return count, size
