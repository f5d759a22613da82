"""Models on disk, named by their SHA-256: written whole or not at all, oldest dropped first.

Files: `<digest>` is a whole, verified model; `<digest>.part` one that is still arriving. The time
of last use is the file's modification time, so the order outlives the process. Locks (flock) let
several agents share a directory: a model in use is not dropped, a part has one writer.

What is here can be had again, and a process believes no file that it has not hashed itself. So
nothing waits for the disk for safety's sake: what a power cut tears is found out, and fetched anew.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from hilnas_agent.room import NoRoomError, Room

_DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 16
_WRITE_OUT_FROM = 1 << 20
"""A file of so many bytes is written out at once: else the kernel would do so beside the measurement."""
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

    def __init__(
        self,
        path: Path,
        final: Path,
        fd: int,
        size_bytes: int,
        renaming: Callable[[], AbstractContextManager[None]],
        verified: Callable[[str, os.stat_result], object],
    ) -> None:
        self._path, self._final, self._fd, self._size = path, final, fd, size_bytes
        self._renaming, self._verified = renaming, verified
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
            if self._size >= _WRITE_OUT_FROM:
                os.fdatasync(self._fd)
            with self._renaming():
                self._path.replace(self._final)
            self._verified(self._final.name, os.fstat(self._fd))
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
        self._room = Room(root, quota_bytes, lambda name: self._verified.pop(name, None))
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
        self._note(digest, os.fstat(fd))
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
        try:
            with self._room.own_change():
                part, fd = _open_part(final)
                try:
                    self._room.make(size_bytes, keep=part)
                    return Partial(part, final, fd, size_bytes, self._room.own_change, self._note)
                except BaseException:
                    os.close(fd)
                    raise
        except NoRoomError as error:
            raise CacheError(
                f"no room for {size_bytes} bytes in {self.root}: {error}; raise --cache-mib"
            ) from error
        except OSError as error:
            raise _disk_error(error, self.root, size_bytes) from error

    def _note(self, digest: str, facts: os.stat_result) -> None:
        """Remembers a file whose hash is known to be right."""
        self._verified[digest] = _state(facts)

    def _path(self, digest: str) -> Path:
        if not is_digest(digest):
            raise CacheError(f"{digest!r} is no SHA-256 digest: 64 lower-case hexadecimal digits are")
        return self.root / digest

    def _sound(self, digest: str, size_bytes: int, fd: int, facts: os.stat_result) -> bool:
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != size_bytes:
            return False
        if self._verified.get(digest) == _state(facts):
            return True
        found = hashlib.sha256()
        while block := os.read(fd, _BLOCK):
            found.update(block)
        return found.hexdigest() == digest


def _open_part(final: Path) -> tuple[Path, int]:
    part = final.with_name(f"{final.name}.part")
    fd = _open_locked(part)
    if fd is None:  # Another agent is fetching the same model into the same directory.
        part = final.with_name(f"{final.name}.{os.getpid()}.part")
        fd = _open_locked(part)
    if fd is None:
        raise CacheError(f"{part} is locked by another process; give this agent its own --cache-dir")
    return part, fd


def _open_locked(path: Path) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _state(facts: os.stat_result) -> tuple[int, int]:
    """What tells that a file has not been changed or replaced."""
    return facts.st_ino, facts.st_mtime_ns


def _disk_error(error: OSError, root: Path, size_bytes: int) -> CacheError:
    if error.errno in _FULL:
        return CacheError(
            f"the disk of {root} is full: free at least {size_bytes} bytes there, or give another --cache-dir"
        )
    return CacheError(f"cannot write in {root}: {error.strerror}; give another --cache-dir")
