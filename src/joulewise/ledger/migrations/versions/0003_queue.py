"""The queue: jobs with their attempts and decisions, the leases on them, and the workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables of the queue."""
    op.create_table(
        "jobs",
        sa.Column("id", _WORDS, nullable=False),
        sa.Column("name", _WORDS, nullable=False),
        sa.Column("owner", _WORDS, nullable=False),
        sa.Column("engine", _WORDS, nullable=False),
        sa.Column("zone", _WORDS, nullable=False),
        sa.Column("stage", _WORDS, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("cpus", sa.Integer(), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("submitted_utc", _WORDS, nullable=False),
        sa.Column("deadline_utc", _WORDS, nullable=False),
        sa.Column("start_utc", _WORDS, nullable=False),
        sa.Column("latest_utc", _WORDS, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("wanted", _WORDS, nullable=False),
        sa.Column("reason", _WORDS, nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("ended_utc", _WORDS, nullable=False),
        sa.Column("planned_utc", _WORDS, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("jobs_due", "jobs", ["stage", "start_utc"])
    op.create_index("jobs_latest", "jobs", ["stage", "latest_utc"])
    op.create_index("jobs_submitted", "jobs", ["submitted_utc", "id"])
    op.create_table(
        "job_papers",
        sa.Column("job", _WORDS, nullable=False),
        sa.Column("ticket", _WORDS, nullable=False),
        sa.Column("placement", _WORDS, nullable=False),
        sa.Column("promise", _WORDS, nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("job"),
    )
    op.create_table(
        "leases",
        sa.Column("name", _WORDS, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("worker", _WORDS, nullable=False),
        sa.Column("host", _WORDS, nullable=False),
        sa.Column("boot", _WORDS, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pid_start", sa.BigInteger(), nullable=False),
        sa.Column("clock", _WORDS, nullable=False),
        sa.Column("until_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("leases_worker", "leases", ["worker"])
    op.create_table(
        "workers",
        sa.Column("name", _WORDS, nullable=False),
        sa.Column("host", _WORDS, nullable=False),
        sa.Column("zone", _WORDS, nullable=False),
        sa.Column("engine", _WORDS, nullable=False),
        sa.Column("owners", _WORDS, nullable=False),
        sa.Column("cpus", sa.Integer(), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("since_utc", _WORDS, nullable=False),
        sa.Column("clock", _WORDS, nullable=False),
        sa.Column("until_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "job_attempts",
        sa.Column("job", _WORDS, nullable=False),
        sa.Column("fence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("worker", _WORDS, nullable=False),
        sa.Column("host", _WORDS, nullable=False),
        sa.Column("boot", _WORDS, nullable=False),
        sa.Column("handle", _WORDS, nullable=False),
        sa.Column("devices", _WORDS, nullable=False),
        sa.Column("begun_utc", _WORDS, nullable=False),
        sa.Column("ended_utc", _WORDS, nullable=False),
        sa.Column("end_state", _WORDS, nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("reason", _WORDS, nullable=False),
        sa.Column("ran", _WORDS, nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("job", "fence"),
    )
    op.create_table(
        "job_decisions",
        sa.Column("job", _WORDS, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at_utc", _WORDS, nullable=False),
        sa.Column("what", _WORDS, nullable=False),
        sa.Column("reason", _WORDS, nullable=False),
        sa.Column("who", _WORDS, nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("job", "number"),
    )
