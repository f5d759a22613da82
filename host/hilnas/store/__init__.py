"""The store: the record of searches, event by event, and content-addressed model files."""

from hilnas.store.files import ModelFiles
from hilnas.store.record import RECORD_FILE, Event, EventKind, Record, SearchRow, StoreError

__all__ = ["RECORD_FILE", "Event", "EventKind", "ModelFiles", "Record", "SearchRow", "StoreError"]
