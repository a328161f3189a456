"""The first schema: the index over recordings and the shared pots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_GROWING = sa.text("growing = 1")


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "damaged",
        sa.Column("root", _WORDS, nullable=False),
        sa.Column("run_id", _WORDS, nullable=False),
        sa.Column("day", _WORDS, nullable=False),
        sa.Column("why", _WORDS, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("root", "run_id"),
    )
    op.create_table(
        "minutes",
        sa.Column("run_id", _WORDS, nullable=False),
        sa.Column("minute", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("component", _WORDS, nullable=False),
        sa.Column("mean_w", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "minute", "component"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pots",
        sa.Column("name", _WORDS, nullable=False),
        sa.Column("limits", _WORDS, nullable=False),
        sa.Column("created_utc", _WORDS, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "recordings",
        sa.Column("run_id", _WORDS, nullable=False),
        sa.Column("root", _WORDS, nullable=False),
        sa.Column("day", _WORDS, nullable=False),
        sa.Column("name", _WORDS, nullable=False),
        sa.Column("host", _WORDS, nullable=False),
        sa.Column("role", _WORDS, nullable=False),
        sa.Column("started_utc", _WORDS, nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("state", _WORDS, nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("energy_j", sa.Double(), nullable=True),
        sa.Column("energy_low_j", sa.Double(), nullable=True),
        sa.Column("energy_high_j", sa.Double(), nullable=True),
        sa.Column("energy_basis", _WORDS, nullable=True),
        sa.Column("idle_j", sa.Double(), nullable=True),
        sa.Column("idle_low_j", sa.Double(), nullable=True),
        sa.Column("idle_high_j", sa.Double(), nullable=True),
        sa.Column("idle_basis", _WORDS, nullable=True),
        sa.Column("machine_j", sa.Double(), nullable=True),
        sa.Column("machine_low_j", sa.Double(), nullable=True),
        sa.Column("machine_high_j", sa.Double(), nullable=True),
        sa.Column("machine_basis", _WORDS, nullable=True),
        sa.Column("boundary", _WORDS, nullable=False),
        sa.Column("components", _WORDS, nullable=False),
        sa.Column("command", _WORDS, nullable=False),
        sa.Column("tags", _WORDS, nullable=False),
        sa.Column("params", _WORDS, nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("last_point", _WORDS, nullable=False),
        sa.Column("damage", sa.Integer(), nullable=False),
        sa.Column("growing", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("boot", _WORDS, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pid_start", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index("recordings_day", "recordings", ["root", "day"])
    op.create_index(
        "recordings_growing", "recordings", ["root"], sqlite_where=_GROWING, postgresql_where=_GROWING
    )
    op.create_index("recordings_name", "recordings", ["name", "started_utc"])
    op.create_index("recordings_started", "recordings", ["started_utc", "run_id"])
    op.create_table(
        "shards",
        sa.Column("root", _WORDS, nullable=False),
        sa.Column("day", _WORDS, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("scanned_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("root", "day"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pot_spending",
        sa.Column("pot", _WORDS, nullable=False),
        sa.Column("run_id", _WORDS, nullable=False),
        sa.Column("energy_j", sa.Double(), nullable=True),
        sa.Column("carbon_g", sa.Double(), nullable=True),
        sa.Column("cost", sa.Double(), nullable=True),
        sa.Column("time_s", sa.Double(), nullable=True),
        sa.Column("trials", sa.Integer(), nullable=True),
        sa.Column("updated_utc", _WORDS, nullable=False),
        sa.Column("ended", sa.Integer(), nullable=False),
        sa.Column("host", _WORDS, nullable=False),
        sa.Column("boot", _WORDS, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pid_start", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["pot"], ["pots.name"]),
        sa.PrimaryKeyConstraint("pot", "run_id"),
    )
