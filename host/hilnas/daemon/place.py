"""Where a search keeps what it makes."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from hilnas.store import RECORD_FILE, ModelFiles, Record


@dataclass(frozen=True)
class Place:
    """Where a search keeps what it makes."""

    folder: Path
    record: str | URL | None = None
    """Database of its record; the folder's own when left out."""
    search_id: str = ""
    """Which search of that record it is; the last one, or a new one, when empty."""
    models: Path | None = None
    """Folder of models that several searches share; one in the folder when left out."""

    def open_record(self) -> Record:
        """Open the record, which is made if it is not there."""
        return Record(self.record) if self.record is not None else Record.in_folder(self.folder)

    def has_record(self) -> bool:
        """Is there a record already?"""
        return self.record is not None or (self.folder / RECORD_FILE).exists()

    def model_files(self) -> ModelFiles:
        """Return the models."""
        return ModelFiles(self.models or self.folder / "models")

    def example_files(self) -> ModelFiles:
        """Return the examples that devices are given."""
        return ModelFiles(self.models or self.folder / "models", ".npy")

    def weight_files(self) -> ModelFiles:
        """Return the weights."""
        return ModelFiles(self.folder / "weights", ".pt")
