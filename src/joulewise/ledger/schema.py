"""The ledger's tables, as SQLAlchemy sees them: what the migrations lead to and `schema.sql` is generated from.

Index tables (`recordings`, `minutes`, `months`, `wastes`, `shards`, `damaged`, `unsent`) are a view of the recordings on disk; primary tables
(pots, savings, the queue's, searches, tokens) are known nowhere else; `bodies` and their parts are what hosts have pushed.
Times are ISO 8601 UTC text, so that both databases sort them alike;
JSON is text. On PostgreSQL text is compared byte by byte, as SQLite does.

`python -m joulewise.ledger.schema > src/joulewise/ledger/schema.sql` writes the script again.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from joulewise.ledger.store import SCHEMA

_WORDS = Text().with_variant(Text(collation="C"), "postgresql")
_UNREAD = text("person IS NULL")
_GROWING = text("growing = 1")
_OF_A_JOB = text("job <> ''")

metadata = MetaData()

version = Table("joulewise_schema", metadata, Column("version_num", String(32), primary_key=True))

recordings = Table(
    "recordings",
    metadata,
    Column("run_id", _WORDS, primary_key=True),  # the name of its folder
    Column(
        "root", _WORDS, nullable=False
    ),  # the runs folder that holds it; "host:path" where hosts share the ledger
    Column("day", _WORDS, nullable=False),  # its folder within that
    Column("name", _WORDS, nullable=False),
    Column("host", _WORDS, nullable=False),
    Column("role", _WORDS, nullable=False),
    Column("started_utc", _WORDS, nullable=False),
    Column("duration_s", Double, nullable=False),
    Column("state", _WORDS, nullable=False),
    Column("exit_code", Integer),
    Column("energy_j", Double),  # of the work; NULL is unknown
    Column("energy_low_j", Double),
    Column("energy_high_j", Double),
    Column("energy_basis", _WORDS),
    Column("idle_j", Double),
    Column("idle_low_j", Double),
    Column("idle_high_j", Double),
    Column("idle_basis", _WORDS),
    Column("machine_j", Double),
    Column("machine_low_j", Double),
    Column("machine_high_j", Double),
    Column("machine_basis", _WORDS),
    Column("boundary", _WORDS, nullable=False),
    Column("components", _WORDS, nullable=False),  # JSON: joules of the work by component
    Column("command", _WORDS, nullable=False),
    Column("tags", _WORDS, nullable=False),  # JSON
    Column("params", _WORDS, nullable=False),  # JSON
    Column("points", Integer, nullable=False),
    Column("last_point", _WORDS, nullable=False),  # JSON
    Column("damage", Integer, nullable=False),  # lines that could not be read
    Column("growing", Integer, nullable=False),  # 1: it has no end yet, or none that we can be sure of
    Column("size_bytes", BigInteger, nullable=False),  # of its files when they were read
    Column("mtime_ns", BigInteger, nullable=False),
    Column("boot", _WORDS, nullable=False),  # with pid and pid_start: which process writes it
    Column("pid", Integer, nullable=False),
    Column("pid_start", BigInteger, nullable=False),
    Column(
        "job", _WORDS, nullable=False, server_default=text("''")
    ),  # what its nodes and ranks share; "" alone
    Index("recordings_job", "job", sqlite_where=_OF_A_JOB, postgresql_where=_OF_A_JOB),
    Index("recordings_started", "started_utc", "run_id"),
    Index(
        "recordings_name", "name", "started_utc", "energy_j"
    ),  # whole, so that adding up by name reads nothing else
    Index("recordings_state", "state", "started_utc", "run_id"),
    Index("recordings_day", "root", "day"),
    Index("recordings_growing", "root", sqlite_where=_GROWING, postgresql_where=_GROWING),
)

minutes = Table(
    "minutes",
    metadata,
    Column("run_id", _WORDS, primary_key=True),
    Column("minute", Integer, primary_key=True, autoincrement=False),  # since the start of the recording
    Column("component", _WORDS, primary_key=True),
    Column("mean_w", Double, nullable=False),
    sqlite_with_rowid=False,
)

months = Table(  # one row a recording and month: team totals are sums over it
    "months",
    metadata,
    Column("month", _WORDS, primary_key=True),  # "2026-11", UTC
    Column("run_id", _WORDS, primary_key=True),
    Column("person", _WORDS),  # NULL: made from the summary alone, to be read again
    Column("project", _WORDS),
    Column("host", _WORDS),
    Column("zone", _WORDS),
    Column("device", _WORDS),
    Column("site", _WORDS),  # "cloud chassis": what decides uplift and PUE
    Column("role", _WORDS),
    Column("inside", _WORDS),  # the recording around this one, which has its joules already
    Column("duration_s", Double, nullable=False),
    Column("energy_j", Double),  # of the work in this month; NULL is unknown
    Column("energy_low_j", Double),
    Column("energy_high_j", Double),
    Column("energy_basis", _WORDS),
    Column("boundary", _WORDS, nullable=False),
    Index("months_run", "run_id"),
    Index("months_unread", "month", "run_id", sqlite_where=_UNREAD, postgresql_where=_UNREAD),
    sqlite_with_rowid=False,
)

wastes = Table(  # which share of a recording's joules went to which of the five wastes
    "wastes",
    metadata,
    Column("run_id", _WORDS, primary_key=True),
    Column("waste", _WORDS, primary_key=True),  # "" is the rest: no waste found
    Column("share", Double, nullable=False),
    Column("low", Double, nullable=False),
    Column("high", Double, nullable=False),
    Column("revision", Integer, nullable=False),  # of the estimators that said so
    sqlite_with_rowid=False,
)

shards = Table(
    "shards",
    metadata,
    Column("root", _WORDS, primary_key=True),
    Column("day", _WORDS, primary_key=True),
    Column("mtime_ns", BigInteger, nullable=False),  # of the day's folder when it was scanned
    Column("scanned_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

damaged = Table(
    "damaged",
    metadata,
    Column("root", _WORDS, primary_key=True),
    Column("run_id", _WORDS, primary_key=True),
    Column("day", _WORDS, nullable=False),
    Column("why", _WORDS, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
)

pots = Table(
    "pots",
    metadata,
    Column("name", _WORDS, primary_key=True),
    Column("limits", _WORDS, nullable=False),  # JSON, sorted
    Column("created_utc", _WORDS, nullable=False),
)

pot_spending = Table(
    "pot_spending",
    metadata,
    Column("pot", _WORDS, ForeignKey("pots.name"), primary_key=True),
    Column("run_id", _WORDS, primary_key=True),
    Column("energy_j", Double),  # all cumulative since the run began; NULL is unknown
    Column("carbon_g", Double),
    Column("cost", Double),
    Column("time_s", Double),
    Column("trials", Integer),
    Column("updated_utc", _WORDS, nullable=False),
    Column("ended", Integer, nullable=False),
    Column("host", _WORDS, nullable=False),
    Column("boot", _WORDS, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_start", BigInteger, nullable=False),
)

savings = Table(
    "savings",
    metadata,
    Column("before_run", _WORDS, primary_key=True),
    Column("after_run", _WORDS, primary_key=True),
    Column("cause", _WORDS, nullable=False),  # "" where the earlier run had no finding
    Column("unit", _WORDS, nullable=False),  # J or cpu_s
    Column("promised_share", Double),  # of the earlier run; NULL without a finding
    Column("promised_low", Double),
    Column("promised_high", Double),
    Column("realised_share", Double, nullable=False),
    Column("realised_low", Double, nullable=False),
    Column("realised_high", Double, nullable=False),
    Column("realised", Double, nullable=False),  # in the unit
    Column("wall_share", Double, nullable=False),
    Column("equal_quality", Integer),  # NULL: not known
    Column("quality", _WORDS, nullable=False),
    Column("settled_utc", _WORDS, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _WORDS, primary_key=True),
    Column("name", _WORDS, nullable=False),
    Column("owner", _WORDS, nullable=False),
    Column("engine", _WORDS, nullable=False),
    Column("zone", _WORDS, nullable=False),  # where it is planned to run
    Column("stage", _WORDS, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("cpus", Integer, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("submitted_utc", _WORDS, nullable=False),
    Column("deadline_utc", _WORDS, nullable=False),
    Column("start_utc", _WORDS, nullable=False),  # when it is planned to start
    Column("latest_utc", _WORDS, nullable=False),  # when it must start so that its reserve holds
    Column("fence", BigInteger, nullable=False),  # grows with every attempt: an older word does not count
    Column("failures", Integer, nullable=False),
    Column("wanted", _WORDS, nullable=False),  # "cancel", or ""
    Column("reason", _WORDS, nullable=False),  # of the last decision
    Column("exit_code", Integer),
    Column("ended_utc", _WORDS, nullable=False),  # "" while it is open
    Column("planned_utc", _WORDS, nullable=False),
    Index("jobs_due", "stage", "start_utc"),
    Index("jobs_latest", "stage", "latest_utc"),
    Index("jobs_submitted", "submitted_utc", "id"),
)

papers = Table(  # apart from the lines, so that a list of ten thousand does not read past them
    "job_papers",
    metadata,
    Column("job", _WORDS, ForeignKey("jobs.id"), primary_key=True),
    Column("ticket", _WORDS, nullable=False),  # JSON
    Column("placement", _WORDS, nullable=False),  # JSON of the plan in force; "" where there is none
    Column("promise", _WORDS, nullable=False),  # JSON of the plan that is settled against what happened
)

leases = Table(
    "leases",
    metadata,
    Column("name", _WORDS, primary_key=True),  # a job's id, or "planner"
    Column("fence", BigInteger, nullable=False),
    Column("worker", _WORDS, nullable=False),
    Column("host", _WORDS, nullable=False),
    Column("boot", _WORDS, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_start", BigInteger, nullable=False),
    Column("clock", _WORDS, nullable=False),  # whose seconds `until_s` are: the boot's, or the server's
    Column("until_s", Double, nullable=False),
    Index("leases_worker", "worker"),
)

attempts = Table(
    "job_attempts",
    metadata,
    Column("job", _WORDS, ForeignKey("jobs.id"), primary_key=True),
    Column("fence", BigInteger, primary_key=True, autoincrement=False),
    Column("worker", _WORDS, nullable=False),
    Column("host", _WORDS, nullable=False),
    Column("boot", _WORDS, nullable=False),
    Column("handle", _WORDS, nullable=False),  # the engine's; "" until it has started
    Column("devices", _WORDS, nullable=False),  # the GPUs that it was given, by number: "0,1"
    Column("begun_utc", _WORDS, nullable=False),
    Column("ended_utc", _WORDS, nullable=False),
    Column("end_state", _WORDS, nullable=False),
    Column("exit_code", Integer),
    Column("reason", _WORDS, nullable=False),
    Column("ran", _WORDS, nullable=False),  # JSON: [from, to] of each stretch; to is null while it runs
)

decisions = Table(
    "job_decisions",
    metadata,
    Column("job", _WORDS, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at_utc", _WORDS, nullable=False),
    Column("what", _WORDS, nullable=False),
    Column("reason", _WORDS, nullable=False),
    Column("who", _WORDS, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("name", _WORDS, primary_key=True),
    Column("host", _WORDS, nullable=False),
    Column("zone", _WORDS, nullable=False),
    Column("engine", _WORDS, nullable=False),
    Column("owners", _WORDS, nullable=False),  # whose jobs it takes; "" everybody's
    Column("cpus", Integer, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("since_utc", _WORDS, nullable=False),
    Column("clock", _WORDS, nullable=False),
    Column("until_s", Double, nullable=False),
)

searches = Table(
    "searches",
    metadata,
    Column("name", _WORDS, primary_key=True),
    Column("lines", BigInteger, nullable=False),  # whoever decides holds this row
)

search_lines = Table(
    "search_lines",
    metadata,
    Column("search", _WORDS, ForeignKey("searches.name"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # from 1
    Column("line", _WORDS, nullable=False),  # JSON, as in a study's journal
)

unsent = Table(  # whose files the ledger does not hold to their end yet: the spool, as a host knows it
    "unsent",
    metadata,
    Column("root", _WORDS, primary_key=True),
    Column("run_id", _WORDS, primary_key=True),
    Column("day", _WORDS, nullable=False),
    sqlite_with_rowid=False,
)

bodies = Table(  # the files of recordings, in a ledger that hosts share
    "bodies",
    metadata,
    Column("run_id", _WORDS, primary_key=True),
    Column("file", _WORDS, primary_key=True),
    Column("mark", _WORDS, nullable=False),  # of its first line: which file it is
    Column("size_bytes", BigInteger, nullable=False),  # of the file, as far as it is here
    Column("kept_bytes", BigInteger, nullable=False),  # what that takes
    Column("parts", Integer, nullable=False),
    Column("changed_utc", _WORDS, nullable=False),
)

body_parts = Table(
    "body_parts",
    metadata,
    Column("run_id", _WORDS, primary_key=True),
    Column("file", _WORDS, primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),  # of the part in the file
    Column("content", LargeBinary, nullable=False),  # zlib
)

tokens = Table(
    "tokens",
    metadata,
    Column("name", _WORDS, primary_key=True),
    Column("digest", _WORDS, nullable=False, unique=True),  # SHA-256; the token itself is kept nowhere
    Column("people", _WORDS, nullable=False),  # JSON: whose recordings it shows
    Column("projects", _WORDS, nullable=False),  # JSON
    Column("everything", Integer, nullable=False),
    Column("created_utc", _WORDS, nullable=False),
)


def sqlite_script() -> str:
    """Return the script that creates a fresh SQLite ledger at the newest schema (`schema.sql`)."""
    dialect = sqlite.dialect()
    parts = [
        "-- Generated by `python -m joulewise.ledger.schema`; edit schema.py and add a migration instead.\n"
    ]
    for table in metadata.sorted_tables:
        parts.append(f"{CreateTable(table).compile(dialect=dialect)}".strip().replace("\t", "    ") + ";\n")
        parts += [
            f"{CreateIndex(i).compile(dialect=dialect)}".strip() + ";\n"
            for i in sorted(table.indexes, key=str)
        ]
    parts.append(f"INSERT INTO joulewise_schema (version_num) VALUES ('{SCHEMA}');\n")  # noqa: S608 - ours
    return "".join(line.rstrip() + "\n" for line in "".join(parts).splitlines())


if __name__ == "__main__":
    print(sqlite_script(), end="")
