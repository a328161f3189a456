"""Searches: studies that workers of several hosts share, and their journals, a line a row.

Until now whoever shared the first study made tables `studies` and `study_lines` beside the schema. Their rows move;
tables of these names that are another program's (Optuna keeps a `studies`, too) are left alone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_OLD = {"studies": ["lines", "name"], "study_lines": ["line", "number", "study"]}


def upgrade() -> None:
    """Create the tables of searches, and move what stands in those that were made beside the schema."""
    op.create_table(
        "searches",
        sa.Column("name", _WORDS, nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "search_lines",
        sa.Column("search", _WORDS, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("line", _WORDS, nullable=False),
        sa.ForeignKeyConstraint(["search"], ["searches.name"]),
        sa.PrimaryKeyConstraint("search", "number"),
    )
    here = sa.inspect(op.get_bind())
    if all(here.has_table(t) and sorted(c["name"] for c in here.get_columns(t)) == _OLD[t] for t in _OLD):
        _move()


def _move() -> None:
    op.execute("INSERT INTO searches (name, lines) SELECT name, lines FROM studies")
    op.execute("INSERT INTO search_lines (search, number, line) SELECT study, number, line FROM study_lines")
    for table in _OLD:
        if op.get_context().dialect.name == "postgresql":  # kept as every upgrade keeps what it changes
            op.rename_table(table, f"{table}_before_{revision}")
        else:  # a copy of the file was kept
            op.drop_table(table)
