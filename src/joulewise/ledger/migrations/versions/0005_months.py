"""Months and wastes: what team totals are summed from.

A row a recording and month is made from each summary at once, so that totals hold from the first moment: all joules in the
month of the start. Who, what and where stay unknown (NULL) until `index.read_old` has read the recording again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create both tables, and fill the months from the summaries."""
    op.create_table(
        "months",
        sa.Column("month", _WORDS, nullable=False),
        sa.Column("run_id", _WORDS, nullable=False),
        *(
            sa.Column(name, _WORDS, nullable=True)
            for name in ("person", "project", "host", "zone", "device", "site", "role", "inside")
        ),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("energy_j", sa.Double(), nullable=True),
        sa.Column("energy_low_j", sa.Double(), nullable=True),
        sa.Column("energy_high_j", sa.Double(), nullable=True),
        sa.Column("energy_basis", _WORDS, nullable=True),
        sa.Column("boundary", _WORDS, nullable=False),
        sa.PrimaryKeyConstraint("month", "run_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("months_run", "months", ["run_id"])
    op.create_table(
        "wastes",
        sa.Column("run_id", _WORDS, nullable=False),
        sa.Column("waste", _WORDS, nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "waste"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO months (month, run_id, host, role, duration_s, energy_j, energy_low_j, energy_high_j, energy_basis, boundary) "
        "SELECT substr(started_utc, 1, 7), run_id, host, role, duration_s, energy_j, energy_low_j, energy_high_j, energy_basis, boundary "
        "FROM recordings"
    )
