"""Keeps the cache's directory under its quota: what was unused longest goes first, unless it is in use."""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

_OURS = re.compile(r"[0-9a-f]{64}(\.[0-9]+)?(\.part)?")


class NoRoomError(Exception):
    """Nothing more can be dropped; the message says how much is in use."""


class Room:
    """A directory under a quota in bytes, perhaps shared with other processes.

    A look at all files takes longer than the transfer of a small model. So what is in use is
    counted on, until somebody else has changed the directory or the count is over the quota.
    `on_drop` is told the name of each file that goes.
    """

    def __init__(self, root: Path, quota_bytes: int, on_drop: Callable[[str], object]) -> None:
        self.root, self.quota_bytes, self._on_drop = root, quota_bytes, on_drop
        self._used: int | None = None
        self._left_ns = -1

    @contextlib.contextmanager
    def own_change(self) -> Iterator[None]:
        """Within, this process makes or renames files; what another did since the last time is looked at anew."""
        if self.root.stat().st_mtime_ns != self._left_ns:
            self._used = None
        try:
            yield
        finally:
            self._left_ns = self.root.stat().st_mtime_ns

    def make(self, size_bytes: int, keep: Path) -> None:
        """Drops files other than `keep` until so many bytes fit beside them; NoRoomError when they do not.

        They fit under the quota, and on the disk as far as dropping helps: others may have filled it.
        """
        missing = max(0, size_bytes - keep.stat().st_size)
        counted = self._used is not None and self._used + size_bytes <= self.quota_bytes
        if self._used is not None and counted and _free(self.root) >= missing:
            self._used += size_bytes
            return
        files = self._files(keep.name)
        used = sum(size for _, size, _ in files)
        for _, size, name in sorted(files):
            if used + size_bytes <= self.quota_bytes and _free(self.root) >= missing:
                break
            if _drop(self.root / name):
                used -= size
                self._on_drop(name)
        if used + size_bytes > self.quota_bytes:
            self._used = None
            raise NoRoomError(f"{used} of {self.quota_bytes} bytes are in use")
        self._used = used + size_bytes

    def _files(self, other_than: str) -> list[tuple[int, int, str]]:
        """Time of last use, size and name of each."""
        files = []
        with os.scandir(self.root) as found:
            for entry in found:
                with contextlib.suppress(FileNotFoundError):
                    if _OURS.fullmatch(entry.name) and entry.name != other_than:
                        facts = entry.stat(follow_symlinks=False)
                        files.append((facts.st_mtime_ns, facts.st_size, entry.name))
        return files


def _free(root: Path) -> int:
    """Bytes that a new file may have on the disk, but for what the file system itself takes for it."""
    facts = os.statvfs(root)
    return max(0, facts.f_bavail - 2) * facts.f_frsize


def _drop(path: Path) -> bool:
    """Deletes a file unless someone holds it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
