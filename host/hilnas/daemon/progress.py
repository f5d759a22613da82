"""How far a search is, kept beside its results: what people see of it after the daemon was started anew."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hilnas.store.files import write_atomically

_FILE = "progress.json"


@dataclass(frozen=True)
class Progress:
    """What a search's process last said, and the device time that it has had."""

    news: Mapping[str, Any] = field(default_factory=dict)
    """phase, trials, wanted, best_reward; empty before it has said something."""
    device_s: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> "Progress":
        """Return what was kept in a search's folder; nothing where there is none, or it is torn."""
        try:
            data = json.loads((folder / _FILE).read_bytes())
            return cls(dict(data["news"]), float(data["device_s"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def keep(self, folder: Path) -> None:
        """Write it there. OSError when that cannot be."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / _FILE, json.dumps(vars(self)).encode())
