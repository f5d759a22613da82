"""Tables of the record. A change here needs a migration in `migrations/versions`."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

_big = BigInteger().with_variant(Integer, "sqlite")

searches = Table(
    "searches",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("seed", _big, nullable=False),
    Column("recipe", JSON, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("created_unix", Float, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", _big, primary_key=True, autoincrement=True),
    Column("search_id", String(32), ForeignKey("searches.id"), nullable=False),
    Column("trial", Integer, nullable=False),  # -1: the search itself
    Column("kind", String(32), nullable=False),
    Column("key", String(200), nullable=False),  # what of a kind may be there once, e.g. a device class
    Column("at_unix", Float, nullable=False),
    Column("payload", JSON, nullable=False),
    UniqueConstraint("search_id", "trial", "kind", "key", name="once"),
    Index("in_order", "search_id", "id"),
)

measurements = Table(
    "measurements",
    metadata,
    Column("id", _big, primary_key=True, autoincrement=True),
    Column("model_sha256", String(64), nullable=False),
    Column("device_class", String(200), nullable=False),
    Column("protocol_hash", String(64), nullable=False),
    Column("runtime_asked", String(200), nullable=False),
    Column("verdict", String(32), nullable=False),
    Column("payload", JSON, nullable=False),  # the Measurement, raw samples included
    UniqueConstraint("model_sha256", "device_class", "protocol_hash", "runtime_asked", name="never_twice"),
    Index("by_device_class", "device_class"),
)

submissions = Table(
    "submissions",
    metadata,
    Column("search_id", String(32), ForeignKey("searches.id"), primary_key=True),
    Column("user", String(200), nullable=False),
    Column("priority", String(16), nullable=False),
    Column("weight", Float, nullable=False),
    Column("status", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("changed_unix", Float, nullable=False),
)

devices = Table(
    "devices",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("payload", JSON, nullable=False),  # the KeptDevice
)

device_events = Table(
    "device_events",
    metadata,
    Column("id", _big, primary_key=True, autoincrement=True),
    Column("device", String(200), nullable=False),
    Column("at_unix", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("text", Text, nullable=False),
    Index("by_device", "device", "id"),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", _big, nullable=False),
)
