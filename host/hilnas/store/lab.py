"""What a daemon keeps beside the record: submitted searches, devices and their history, fencing tokens."""

import logging
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from hilnas.store.codec import dump, load
from hilnas.store.record import Record, SearchRow, StoreError
from hilnas.store.tables import counters, device_events, devices, searches, submissions

_log = logging.getLogger(__name__)

KEPT_EVENTS = 10_000
"""Events kept of each device."""
_BATCH = 500


class SearchStatus(StrEnum):
    """Where a submitted search stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLED = "CANCELLED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"


ENDED = frozenset({SearchStatus.CANCELLED, SearchStatus.FINISHED, SearchStatus.FAILED})
"""Of these nothing more comes by itself."""


@dataclass(frozen=True)
class Submission:
    """A search that a daemon was given."""

    search: SearchRow
    user: str
    priority: str
    """"high", "normal" or "low"."""
    weight: float
    status: SearchStatus
    message: str
    changed_unix: float


class Submissions:
    """Searches of a daemon, in its record."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def add(
        self, name: str, seed: int, recipe: Mapping[str, Any], versions: Mapping[str, Any],
        user: str, priority: str, weight: float,
    ) -> Submission:  # fmt: skip
        """Take up a search, QUEUED."""
        with self._record.begin() as connection:
            search = self._record.insert_search(connection, name, seed, recipe, versions)
            added = Submission(search, user, priority, weight, SearchStatus.QUEUED, "", time.time())
            connection.execute(
                insert(submissions).values(
                    search_id=search.id, user=user, priority=priority, weight=weight, status=added.status.value,
                    message="", changed_unix=added.changed_unix,
                )
            )  # fmt: skip
        return added

    def all(self) -> list[Submission]:
        """Return all, the newest first."""
        query = (
            select(searches, submissions)
            .join(submissions, submissions.c.search_id == searches.c.id)
            .order_by(searches.c.created_unix.desc())
        )
        with self._record.begin() as connection:
            return [_submission(row) for row in connection.execute(query).mappings()]

    def change(self, submission: Submission, status: SearchStatus, message: str = "") -> Submission:
        """Set the status of one."""
        changed = replace(submission, status=status, message=message, changed_unix=time.time())
        with self._record.begin() as connection:
            connection.execute(
                update(submissions)
                .where(submissions.c.search_id == submission.search.id)
                .values(status=status.value, message=message, changed_unix=changed.changed_unix)
            )
        return changed

    def remove(self, submission: Submission) -> None:
        """Drop a search for good, with its events."""
        search_id = submission.search.id
        with self._record.begin() as connection:
            connection.execute(delete(submissions).where(submissions.c.search_id == search_id))
            self._record.remove_search(connection, search_id)


def _submission(row: Mapping[Any, Any]) -> Submission:
    fields = ("id", "name", "seed", "recipe", "versions", "created_unix")
    return Submission(
        SearchRow(**{name: row[name] for name in fields}),
        row["user"], row["priority"], row["weight"], SearchStatus(row["status"]), row["message"],
        row["changed_unix"],
    )  # fmt: skip


class KeptLater:
    """Rows that a thread writes, many in a transaction, so that whoever hands them over never waits for a disk.

    What was handed over in the last moments before a crash is lost: no more than that may be kept this way.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._waiting: queue.SimpleQueue[tuple[str, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="device book", daemon=True)
        self._thread.start()

    def put(self, kind: str, value: Any) -> None:
        """Hand a row over: a "device" with its name and payload, or an "event" with its columns."""
        self._waiting.put((kind, value))

    def close(self) -> None:
        """Write what is left."""
        self._waiting.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        over = False
        while not over:
            batch, over = self._next_batch()
            try:
                with self._record.begin() as connection:
                    self._write(connection, batch)
            except StoreError as error:
                # Devices go on measuring; the next change of a device is kept again.
                _log.error("%d changes of devices were not kept: %s", len(batch), error)

    def _next_batch(self) -> tuple[list[tuple[str, Any]], bool]:
        batch, item = [], self._waiting.get()
        while item is not None:
            batch.append(item)
            if len(batch) >= _BATCH:
                return batch, False
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    @staticmethod
    def _write(connection: Connection, batch: list[tuple[str, Any]]) -> None:
        kept = {value["name"]: value for kind, value in batch if kind == "device"}
        if kept:
            connection.execute(delete(devices).where(devices.c.name.in_(kept)))
            connection.execute(insert(devices), list(kept.values()))
        happened = [value for kind, value in batch if kind == "event"]
        if happened:
            connection.execute(insert(device_events), happened)


class Kept:
    """Devices, their events and the fencing tokens of a lab; `kind` is the class that devices are kept as."""

    def __init__(self, record: Record, kind: type[Any]) -> None:
        self._record, self._kind = record, kind
        self._later = KeptLater(record)

    def close(self) -> None:
        """Write what is left."""
        self._later.close()

    def devices(self) -> list[Any]:
        """Return every device that was kept."""
        with self._record.begin() as connection:
            return [
                load(self._kind, payload)
                for payload in connection.execute(select(devices.c.payload)).scalars()
            ]

    def keep(self, device: Any) -> None:
        """Keep a device as it is now."""
        self._later.put("device", {"name": device.name, "payload": dump(device)})

    def note(self, name: str, kind: str, text: str) -> None:
        """Add an event to a device's history."""
        self._later.put("event", {"device": name, "at_unix": time.time(), "kind": kind, "text": text})

    def events(self, name: str, limit: int) -> list[tuple[float, str, str]]:
        """Return (time, kind, text) of a device's last events, the newest first."""
        query = (
            select(device_events.c.at_unix, device_events.c.kind, device_events.c.text)
            .where(device_events.c.device == name)
            .order_by(device_events.c.id.desc())
            .limit(limit)
        )
        with self._record.begin() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def prune(self, name: str) -> None:
        """Drop a device's oldest events beyond those that are kept."""
        oldest = (
            select(device_events.c.id)
            .where(device_events.c.device == name)
            .order_by(device_events.c.id.desc())
            .offset(KEPT_EVENTS)
            .limit(1)
        )
        with suppress(StoreError), self._record.begin() as connection:
            last = connection.execute(oldest).scalar()
            if last is not None:
                connection.execute(
                    delete(device_events).where(device_events.c.device == name, device_events.c.id <= last)
                )

    def fences(self, count: int) -> int:
        """Return the first of `count` numbers that were never given before; durable before it returns."""
        with self._record.begin() as connection:
            value = connection.execute(select(counters.c.value).where(counters.c.name == "fence")).scalar()
            if value is None:
                connection.execute(insert(counters).values(name="fence", value=1 + count))
                return 1
            connection.execute(update(counters).where(counters.c.name == "fence").values(value=value + count))
            return int(value)
