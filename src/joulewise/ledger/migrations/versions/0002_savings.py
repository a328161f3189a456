"""Savings: what findings promised and what was realised."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table of savings."""
    op.create_table(
        "savings",
        sa.Column("before_run", _WORDS, nullable=False),
        sa.Column("after_run", _WORDS, nullable=False),
        sa.Column("cause", _WORDS, nullable=False),
        sa.Column("unit", _WORDS, nullable=False),
        sa.Column("promised_share", sa.Double(), nullable=True),
        sa.Column("promised_low", sa.Double(), nullable=True),
        sa.Column("promised_high", sa.Double(), nullable=True),
        sa.Column("realised_share", sa.Double(), nullable=False),
        sa.Column("realised_low", sa.Double(), nullable=False),
        sa.Column("realised_high", sa.Double(), nullable=False),
        sa.Column("realised", sa.Double(), nullable=False),
        sa.Column("wall_share", sa.Double(), nullable=False),
        sa.Column("equal_quality", sa.Integer(), nullable=True),
        sa.Column("quality", _WORDS, nullable=False),
        sa.Column("settled_utc", _WORDS, nullable=False),
        sa.PrimaryKeyConstraint("before_run", "after_run"),
    )
