"""Indices that make the dashboard's first looks cheap: by name with the joules, by state, and months that nobody has read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_UNREAD = sa.text("person IS NULL")


def upgrade() -> None:
    """Make the indices; no row changes."""
    op.drop_index("recordings_name", "recordings")
    op.create_index("recordings_name", "recordings", ["name", "started_utc", "energy_j"])
    op.create_index("recordings_state", "recordings", ["state", "started_utc", "run_id"])
    op.create_index(
        "months_unread", "months", ["month", "run_id"], sqlite_where=_UNREAD, postgresql_where=_UNREAD
    )
