"""A team's ledger: bodies of recordings, what is unsent, which job a recording is part of, tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_OF_A_JOB = sa.text("job <> ''")


def upgrade() -> None:
    """Create the tables of a team, and put every recording that is known into the spool."""
    op.add_column("recordings", sa.Column("job", _WORDS, nullable=False, server_default=sa.text("''")))
    op.create_index(
        "recordings_job", "recordings", ["job"], sqlite_where=_OF_A_JOB, postgresql_where=_OF_A_JOB
    )
    op.create_table(
        "unsent",
        sa.Column("root", _WORDS, nullable=False),
        sa.Column("run_id", _WORDS, nullable=False),
        sa.Column("day", _WORDS, nullable=False),
        sa.PrimaryKeyConstraint("root", "run_id"),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO unsent (root, run_id, day) SELECT root, run_id, day FROM recordings")
    op.create_table(
        "bodies",
        sa.Column("run_id", _WORDS, nullable=False),
        sa.Column("file", _WORDS, nullable=False),
        sa.Column("mark", _WORDS, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("kept_bytes", sa.BigInteger(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("changed_utc", _WORDS, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "file"),
    )
    op.create_table(
        "body_parts",
        sa.Column("run_id", _WORDS, nullable=False),
        sa.Column("file", _WORDS, nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "file", "start"),
    )
    op.create_table(
        "tokens",
        sa.Column("name", _WORDS, nullable=False),
        sa.Column("digest", _WORDS, nullable=False),
        sa.Column("people", _WORDS, nullable=False),
        sa.Column("projects", _WORDS, nullable=False),
        sa.Column("everything", sa.Integer(), nullable=False),
        sa.Column("created_utc", _WORDS, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("digest"),
    )
