"""The record: searches and their events, appended and never changed, in any SQLAlchemy database."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, delete, event, insert, select
from sqlalchemy.exc import DatabaseError, IntegrityError

from hilnas.errors import HilnasError
from hilnas.store.codec import dump, load
from hilnas.store.migrate import upgrade
from hilnas.store.tables import events, measurements, searches
from hilnas.trial import Measurement

RECORD_FILE = "record.sqlite"
"""Name of the record in a results folder."""


class StoreError(HilnasError, RuntimeError):
    """The store cannot be used; the message says what to do."""


class EventKind(StrEnum):
    """What can happen. Of a kind, a trial has one event for each key."""

    SEARCH_STARTED = "search_started"
    STUDY_STARTED = "study_started"
    EARLIER = "earlier"
    PREPARED = "prepared"
    PROPOSED = "proposed"
    EXPORTED = "exported"
    RANKED = "ranked"
    MEASURED = "measured"
    RUNG = "rung"
    ESTIMATED = "estimated"
    TRAINED_IN_FULL = "trained_in_full"
    SCORED = "scored"
    INVALID = "invalid"
    FAILED = "failed"
    OBSERVED = "observed"
    CANARY = "canary"
    WINNER_TRAINED = "winner_trained"
    WINNER_MEASURED = "winner_measured"
    WINNER_CHECKED = "winner_checked"
    SESSION_STARTED = "session_started"
    SESSION_ENDED = "session_ended"
    SEARCH_FINISHED = "search_finished"


@dataclass(frozen=True)
class Event:
    """Something that happened, once. `trial` is -1 where it is about the search itself."""

    kind: EventKind
    trial: int
    key: str
    at_unix: float
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class SearchRow:
    """A search as it was started."""

    id: str
    name: str
    seed: int
    recipe: Mapping[str, Any]
    versions: Mapping[str, Any]
    created_unix: float


class Record:
    """Opens (and, if it is new or older, migrates) a database and appends to it."""

    def __init__(self, url: str | URL) -> None:
        self.url = url
        self._listeners: list[Callable[[Event], None]] = []
        self._engine = _engine(url)
        with self._translated():
            upgrade(self._engine)

    @classmethod
    def in_folder(cls, folder: Path) -> "Record":
        """Open the record of a results folder."""
        return cls(URL.create("sqlite", database=str(folder / RECORD_FILE)))

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` after each event that this process appends, once it is durable."""
        self._listeners.append(listener)

    def start_search(
        self, name: str, seed: int, recipe: Mapping[str, Any], versions: Mapping[str, Any]
    ) -> SearchRow:
        """Add a search and return it."""
        with self.begin() as connection:
            row = self.insert_search(connection, name, seed, recipe, versions)
        self._tell(_started(row))
        return row

    @staticmethod
    def insert_search(
        connection: Connection, name: str, seed: int, recipe: Mapping[str, Any], versions: Mapping[str, Any]
    ) -> SearchRow:
        """Add a search as part of a larger transaction, and return it; nobody is told."""
        row = SearchRow(uuid.uuid4().hex, name, seed, recipe, versions, time.time())
        connection.execute(insert(searches).values(**row.__dict__))
        _insert_event(connection, row.id, _started(row))
        return row

    def searches(self) -> list[SearchRow]:
        """Return all searches, oldest first."""
        with self.begin() as connection:
            rows = connection.execute(select(searches).order_by(searches.c.created_unix)).mappings()
            return [SearchRow(**row) for row in rows]

    def append(
        self,
        search_id: str,
        kind: EventKind,
        trial: int = -1,
        key: str = "",
        payload: Mapping[str, Any] | None = None,
    ) -> bool:
        """Append an event; False, and nothing done, when it is there already."""
        happened = Event(kind, trial, key, time.time(), payload or {})
        try:
            with self.begin() as connection:
                _insert_event(connection, search_id, happened)
        except IntegrityError:
            return False
        self._tell(happened)
        return True

    def append_measurement(
        self,
        search_id: str,
        trial: int,
        measurement: Measurement,
        runtime_asked: str,
        kind: EventKind = EventKind.MEASURED,
        key: str | None = None,
    ) -> bool:
        """Append a MEASURED event (or another `kind`) and keep the measurement, raw samples and all.

        Both happen in one transaction; the event's key is the device class when left out. False when the
        event is there already.
        """
        key = measurement.device_class if key is None else key
        happened = Event(kind, trial, key, time.time(), dump(without_samples(measurement)))
        asked = _asked(measurement, runtime_asked)
        try:
            with self.begin() as connection:
                _insert_event(connection, search_id, happened)
                if connection.execute(select(measurements.c.id).filter_by(**asked)).first() is None:
                    row = {**asked, "verdict": measurement.verdict, "payload": dump(measurement)}
                    connection.execute(insert(measurements).values(**row))
        except IntegrityError:
            return False
        self._tell(happened)
        return True

    def find_measurement(
        self, model_sha256: str, device_class: str, protocol_hash: str, runtime_asked: str
    ) -> Measurement | None:
        """Return what is known of a model on a class of device under a protocol, or None."""
        with self.begin() as connection:
            payload = connection.execute(
                select(measurements.c.payload).filter_by(
                    model_sha256=model_sha256,
                    device_class=device_class,
                    protocol_hash=protocol_hash,
                    runtime_asked=runtime_asked,
                )
            ).scalar()
        return None if payload is None else load(Measurement, payload)

    def events(self, search_id: str) -> list[Event]:
        """Return the events of a search in the order they happened."""
        query = select(events).where(events.c.search_id == search_id).order_by(events.c.id)
        with self.begin() as connection:
            rows = connection.execute(query).mappings()
            return [
                Event(EventKind(r["kind"]), r["trial"], r["key"], r["at_unix"], r["payload"]) for r in rows
            ]

    def events_after(self, search_id: str, number: int, limit: int) -> list[tuple[int, Event]]:
        """Return the next events of a search after one, each with its number, at most `limit`."""
        query = (
            select(events)
            .where(events.c.search_id == search_id, events.c.id > number)
            .order_by(events.c.id)
            .limit(limit)
        )
        with self.begin() as connection:
            return [
                (r["id"], Event(EventKind(r["kind"]), r["trial"], r["key"], r["at_unix"], r["payload"]))
                for r in connection.execute(query).mappings()
            ]

    def model_digests(self) -> set[str]:
        """Return the digests of all models that events of searches name."""
        found: set[str] = set()
        with self.begin() as connection:
            rows = connection.execution_options(yield_per=1000).execute(select(events.c.payload))
            for payload in rows.scalars():
                found.update(_digests(payload))
        return found

    def remove_search(self, connection: Connection, search_id: str) -> None:
        """Drop a search and its events as part of a larger transaction. Measurements stay: they hold for others."""
        connection.execute(delete(events).where(events.c.search_id == search_id))
        connection.execute(delete(searches).where(searches.c.id == search_id))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _tell(self, happened: Event) -> None:
        for listener in self._listeners:
            listener(happened)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Give a connection with a transaction, for what lies beside the events. StoreError where that fails."""
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except DatabaseError as error:
            raise StoreError(
                f"the record {self.url} cannot be used ({error.orig}); if its disk is full, free space and "
                "use --resume; if it is damaged, put it back from a backup or choose another --out"
            ) from error


def without_samples(measurement: Measurement) -> Measurement:
    """Return a measurement less its raw samples, which only the table of measurements keeps."""
    if measurement.latency is None:
        return measurement
    return replace(measurement, latency=replace(measurement.latency, samples_ns=(), set_aside=()))


def _digests(value: Any) -> Iterator[str]:
    """Yield what stands under sha256 or model_sha256, anywhere in JSON data."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("sha256", "model_sha256") and isinstance(inner, str):
                yield inner
            else:
                yield from _digests(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _digests(inner)


def _started(row: SearchRow) -> Event:
    return Event(EventKind.SEARCH_STARTED, -1, "", row.created_unix, {})


def _asked(measurement: Measurement, runtime_asked: str) -> dict[str, str]:
    return {
        "model_sha256": measurement.model_sha256,
        "device_class": measurement.device_class,
        "protocol_hash": measurement.protocol_hash,
        "runtime_asked": runtime_asked,
    }


def _insert_event(connection: Connection, search_id: str, happened: Event) -> None:
    connection.execute(
        insert(events).values(
            search_id=search_id,
            trial=happened.trial,
            kind=happened.kind.value,
            key=happened.key,
            at_unix=happened.at_unix,
            payload=dict(happened.payload),
        )
    )


def _engine(url: str | URL) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, _: object) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")  # an event told to others survives a power cut
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.close()

    return engine
