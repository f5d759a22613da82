"""Brings a database to the tables of this version, with alembic."""

from pathlib import Path

from sqlalchemy import Engine


def upgrade(engine: Engine) -> None:
    """Create or migrate the tables, in one transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
