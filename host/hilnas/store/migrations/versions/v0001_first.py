"""Searches, events, measurements."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "searches",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("seed", _big, nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("created_unix", sa.Float(), nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", _big, primary_key=True, autoincrement=True),
        sa.Column("search_id", sa.String(32), sa.ForeignKey("searches.id"), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("at_unix", sa.Float(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.UniqueConstraint("search_id", "trial", "kind", "key", name="once"),
    )
    op.create_table(
        "measurements",
        sa.Column("id", _big, primary_key=True, autoincrement=True),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("device_class", sa.String(200), nullable=False),
        sa.Column("protocol_hash", sa.String(64), nullable=False),
        sa.Column("runtime_asked", sa.String(200), nullable=False),
        sa.Column("verdict", sa.String(32), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.UniqueConstraint(
            "model_sha256", "device_class", "protocol_hash", "runtime_asked", name="never_twice"
        ),
    )
    op.create_index("by_device_class", "measurements", ["device_class"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("measurements", "events", "searches"):
        op.drop_table(table)
