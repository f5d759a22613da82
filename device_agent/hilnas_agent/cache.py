"""Models on disk, named by their SHA-256: written whole or not at all, oldest dropped first.

Files: `<digest>` is a whole, verified model; `<digest>.part` one that is still arriving. The time
of last use is the file's modification time, so the order outlives the process. Locks (flock) let
several agents share a directory: a model in use is not dropped, a part has one writer.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
from pathlib import Path

_DIGEST = re.compile(r"[0-9a-f]{64}")
_OURS = re.compile(r"[0-9a-f]{64}(\.[0-9]+)?(\.part)?")
_BLOCK = 1 << 16
_FULL = (errno.ENOSPC, errno.EDQUOT)


class CacheError(Exception):
    """The cache cannot do what was asked; the message names the directory and the remedy."""


class WrongContentError(CacheError):
    """What arrived does not have the digest that was asked for; it has been deleted."""


def is_digest(text: str) -> bool:
    """True for 64 lower-case hexadecimal digits, the only text that ever becomes a file name."""
    return _DIGEST.fullmatch(text) is not None


class Held:
    """A whole model that stays on disk until it is closed."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def close(self) -> None:
        """Lets the cache drop the model again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Partial:
    """A model that is arriving. `offset` is where the next byte belongs; close keeps it for later."""

    def __init__(self, path: Path, final: Path, fd: int, size_bytes: int) -> None:
        self._path, self._final, self._fd, self._size = path, final, fd, size_bytes
        self._hash = hashlib.sha256()
        self.offset = 0
        if os.fstat(fd).st_size > size_bytes:
            os.ftruncate(fd, 0)
        while block := os.read(fd, _BLOCK):
            self._hash.update(block)
            self.offset += len(block)

    def write(self, chunk: bytes) -> None:
        """Appends a chunk; CacheError when it runs past the declared size or the disk is full."""
        if self.offset + len(chunk) > self._size:
            self.discard()
            raise WrongContentError(f"{self._final.name} is longer than its declared {self._size} bytes")
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self.close()
            raise _disk_error(error, self._final.parent, self._size) from error
        self._hash.update(chunk)
        self.offset += len(chunk)

    def commit(self) -> None:
        """Gives the complete file its final name; WrongContentError when its hash is another."""
        if self._hash.hexdigest() != self._final.name:
            got = self._hash.hexdigest()
            self.discard()
            raise WrongContentError(f"asked for {self._final.name} and received content of hash {got}")
        try:
            os.fsync(self._fd)
            self._path.replace(self._final)
            _sync_directory(self._final.parent)
        except OSError as error:
            raise _disk_error(error, self._final.parent, self._size) from error
        finally:
            self.close()

    def discard(self) -> None:
        """Deletes what has arrived."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            self.close()

    def close(self) -> None:
        """Keeps what has arrived, if anything has, to go on later."""
        if self._fd >= 0:
            if self.offset == 0:
                self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


class ModelCache:
    """A directory of models under a quota in bytes. Raises CacheError when it cannot be used."""

    def __init__(self, root: Path, quota_bytes: int) -> None:
        self.root, self.quota_bytes = root, quota_bytes
        self._verified: dict[str, tuple[int, int]] = {}
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(
                f"cannot make the cache directory {root}: {error.strerror}; give another with --cache-dir"
            ) from error
        if not os.access(root, os.W_OK | os.X_OK):
            raise CacheError(f"the cache directory {root} is not writable; give another with --cache-dir")

    def hold(self, digest: str, size_bytes: int) -> Held | None:
        """The model if it is here whole, kept until closed. Its hash is checked once a process."""
        path = self._path(digest)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return None
        fcntl.flock(fd, fcntl.LOCK_SH)
        facts = os.fstat(fd)
        if not self._sound(digest, size_bytes, fd, facts):
            os.close(fd)
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(fd)
        changed = os.fstat(fd)
        self._verified[digest] = (changed.st_ino, changed.st_mtime_ns)
        if not path.exists():  # Another agent dropped it between the opening and the lock.
            os.close(fd)
            return None
        return Held(path, fd)

    def begin(self, digest: str, size_bytes: int) -> Partial:
        """Starts or goes on with a model's transfer, having made room for it."""
        final = self._path(digest)
        if size_bytes > self.quota_bytes:
            raise CacheError(
                f"model of {size_bytes} bytes is larger than the cache's quota of {self.quota_bytes} bytes; "
                "raise --cache-mib"
            )
        part = final.with_name(f"{digest}.part")
        try:
            fd = _open_locked(part)
            if fd is None:  # Another agent is fetching the same model into the same directory.
                part = final.with_name(f"{digest}.{os.getpid()}.part")
                fd = _open_locked(part)
            if fd is None:
                raise CacheError(f"{part} is locked by another process; give this agent its own --cache-dir")
            try:
                self._make_room(size_bytes, keep=part)
                return Partial(part, final, fd, size_bytes)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise _disk_error(error, self.root, size_bytes) from error

    def _path(self, digest: str) -> Path:
        if not is_digest(digest):
            raise CacheError(f"{digest!r} is no SHA-256 digest: 64 lower-case hexadecimal digits are")
        return self.root / digest

    def _sound(self, digest: str, size_bytes: int, fd: int, facts: os.stat_result) -> bool:
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != size_bytes:
            return False
        if self._verified.get(digest) == (facts.st_ino, facts.st_mtime_ns):
            return True
        found = hashlib.sha256()
        while block := os.read(fd, _BLOCK):
            found.update(block)
        return found.hexdigest() == digest

    def _make_room(self, size_bytes: int, keep: Path) -> None:
        entries = []
        for path in self.root.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if _OURS.fullmatch(path.name) and path != keep:
                    facts = path.lstat()
                    entries.append((facts.st_mtime_ns, facts.st_size, path))
        used = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if used + size_bytes <= self.quota_bytes:
                return
            if _drop(path):
                used -= size
                self._verified.pop(path.name, None)
        if used + size_bytes > self.quota_bytes:
            raise CacheError(
                f"no room for {size_bytes} bytes in {self.root}: {used} of {self.quota_bytes} bytes are "
                "in use; raise --cache-mib"
            )


def _open_locked(path: Path) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


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


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _disk_error(error: OSError, root: Path, size_bytes: int) -> CacheError:
    if error.errno in _FULL:
        return CacheError(
            f"the disk of {root} is full: free at least {size_bytes} bytes there, or give another --cache-dir"
        )
    return CacheError(f"cannot write in {root}: {error.strerror}; give another --cache-dir")
