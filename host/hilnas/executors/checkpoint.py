"""Checkpoints: what long work has come to, in a file of the host's, so that a loss costs a step and not the whole."""

import glob
import logging
from pathlib import Path

_log = logging.getLogger(__name__)


class Checkpoint:
    """One file, for one piece of work at a time. Disks that fail cost the way back, never the work."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> bytes | None:
        """Return what was saved last; None when there is nothing, or nothing that can be read."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.error("the checkpoint %s cannot be read, its work starts anew: %s", self.path, error)
            return None

    def save(self, content: bytes) -> None:
        """Replace what is there, whole or not at all. When the disk refuses, the log tells and the older stays."""
        from hilnas.store.files import write_atomically

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._tidy()
            write_atomically(self.path, content)
        except OSError as error:
            _log.error("a checkpoint was not kept, the one before stays: %s", error)

    def remove(self) -> None:
        """Forget it: its work is done."""
        try:
            self.path.unlink(missing_ok=True)
            self._tidy()
        except OSError as error:
            _log.error("the checkpoint %s was not removed: %s", self.path, error)

    def _tidy(self) -> None:
        """Remove what a host left half-written that was killed at it: these files can be large."""
        for path in self.path.parent.glob(f".{glob.escape(self.path.name)}.*"):
            path.unlink(missing_ok=True)
