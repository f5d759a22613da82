"""What a daemon adds: submitted searches, devices with their history, numbers that only grow."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_index("in_order", "events", ["search_id", "id"])
    op.create_table(
        "submissions",
        sa.Column("search_id", sa.String(32), sa.ForeignKey("searches.id"), primary_key=True),
        sa.Column("user", sa.String(200), nullable=False),
        sa.Column("priority", sa.String(16), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("changed_unix", sa.Float(), nullable=False),
    )
    op.create_table(
        "devices",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("payload", sa.JSON(), nullable=False),
    )
    op.create_table(
        "device_events",
        sa.Column("id", _big, primary_key=True, autoincrement=True),
        sa.Column("device", sa.String(200), nullable=False),
        sa.Column("at_unix", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
    )
    op.create_index("by_device", "device_events", ["device", "id"])
    op.create_table(
        "counters",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", _big, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("counters", "device_events", "devices", "submissions"):
        op.drop_table(table)
    op.drop_index("in_order", "events")
