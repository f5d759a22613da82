"""Model files by content: written under a temporary name, synced, renamed; never half there."""

import hashlib
import os
import re
import tempfile
from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ModelFiles:
    """A folder of files named by the SHA-256 of their content."""

    def __init__(self, folder: Path, suffix: str = ".tflite") -> None:
        self.folder = folder
        self.suffix = suffix
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes) -> str:
        """Store `content` and return its digest. OSError (disk full) leaves nothing behind."""
        digest = hashlib.sha256(content).hexdigest()
        path = self.path(digest)
        if not path.exists():
            if not path.parent.is_dir():
                path.parent.mkdir(exist_ok=True)
                _sync(self.folder)
            write_atomically(path, content)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the content of `digest`. FileNotFoundError without it; ValueError when it is torn."""
        content = self.path(digest).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(f"{self.path(digest)} is torn: its content is not what its name says; delete it")
        return content

    def discard(self, digest: str) -> None:
        """Remove the content of `digest`, if it is there."""
        self.path(digest).unlink(missing_ok=True)

    def path(self, digest: str) -> Path:
        """Return where `digest` is kept, whether it is there or not. ValueError for what is no digest."""
        if not _SHA256.fullmatch(digest):
            raise ValueError(f"{digest!r} is no SHA-256 digest")
        return self.folder / digest[:2] / f"{digest}{self.suffix}"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, whatever happens between.

    An OSError names `path`, not the temporary file beside it.
    """
    try:
        _write_and_rename(path, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_and_rename(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
