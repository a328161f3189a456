"""Training sets: for every label what was known at its time, and nothing that came later (ASOF join).

    columns = training_set(labels, views, at="seen_at")             # a mapping of arrays, rows as the labels are
    training_set("labels.parquet", views, at="seen_at", into="set.parquet")

A view's row counts for a label if its event time is at or before the label's, none of the entity is between, it is not
older than the view's TTL, and the entity was not deleted; else the columns are null (masked). Of rows of one entity and
one time the greatest counts, as online. The columns are called `view.column`, and `view.age_s` is the row's age then.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from joulewise.features.offline import MEMORY_BYTES, Offline
from joulewise.features.views import Column, View, missing_column
from joulewise.vocabulary.errors import UsageError


def training_set(
    labels: Any,
    views: Iterable[View],
    *,
    at: str,
    zone: str = "UTC",
    into: str | Path | None = None,
    memory_bytes: int = MEMORY_BYTES,
) -> Mapping[str, Any]:
    """Return the labels with the features known at each one's time `at`; with `into`, write a Parquet file instead.

    `labels` is a Parquet or CSV file, or anything with columns (a dataframe, a mapping of arrays); it needs each view's
    keys and `at`, a timestamp (of `zone`, if it tells none). The rows stay in their order. Raises UsageError in one line.
    """
    with Offline(list(views), memory_bytes=memory_bytes) as offline:
        import duckdb

        connection = offline.connection
        connection.execute(
            f"CREATE TEMP TABLE labels_given AS SELECT *, row_number() OVER () AS label_row FROM {_labels(connection, labels)}"
        )
        given = {
            r[0]: r[1] for r in connection.execute("DESCRIBE labels_given").fetchall() if r[0] != "label_row"
        }
        if at not in given:
            raise missing_column("the labels' table", at, given, "the labels' time")
        if not given[at].startswith("TIMESTAMP") and given[at] != "DATE":
            raise UsageError(f"the labels' time {at} is {given[at]}, but must be a timestamp")
        moment = f'"{at}"'
        if given[at] != "TIMESTAMP WITH TIME ZONE":
            moment = f"timezone('{zone}', CAST({moment} AS TIMESTAMP))"
        connection.execute(
            f"CREATE TEMP TABLE labels_0 AS SELECT *, epoch_us({moment}) AS label_us FROM labels_given"
        )
        connection.execute("DROP TABLE labels_given")
        table = "labels_0"
        for number, view in enumerate(offline.views.values(), 1):
            for key in view.keys:
                if key not in given:
                    raise missing_column("the labels' table", key, given, f"a key of view {view.name}")
            try:
                connection.execute(_joined(offline, view, table, f"labels_{number}"))
            except duckdb.Error as error:
                raise UsageError(f"view {view.name}: {str(error).splitlines()[0]}") from None
            connection.execute(f"DROP TABLE {table}")
            table = f"labels_{number}"
        result = f"SELECT * EXCLUDE (label_row, label_us) FROM {table} ORDER BY label_row"
        if into is None:
            found: Mapping[str, Any] = connection.execute(result).fetchnumpy()
            return found
        fresh = Path(into).with_name(f".{Path(into).name}.{os.getpid()}")
        try:
            connection.execute(f"COPY ({result}) TO '{_quoted(fresh)}' (FORMAT parquet)")
            os.replace(fresh, into)
        except duckdb.Error as error:
            raise UsageError(f"cannot write {into}: {str(error).splitlines()[0]}") from None
        finally:
            fresh.unlink(missing_ok=True)
        return {}


def _joined(offline: Offline, view: View, labels: str, into: str) -> str:
    """Return the statement that adds one view's columns to the labels."""
    columns = offline.columns(view)
    keys = ", ".join(f'"{k}"' for k in view.keys)
    fields = ", ".join(f'"{n}" := "{n}"' for n in ("gone", *(c.name for c in columns)))
    ttl_us = round(view.ttl_s * 1e6)
    known = f"f.at_us >= l.label_us - {ttl_us} AND NOT f.newest.gone"
    chosen = "".join(f', CASE WHEN {known} THEN {_read(c)} END AS "{view.name}.{c.name}"' for c in columns)
    age = f', CASE WHEN {known} THEN (l.label_us - f.at_us) / 1e6 END AS "{view.name}.age_s"'
    same = " AND ".join(f'l."{k}" = f."{k}"' for k in view.keys)
    return (
        f"CREATE TEMP TABLE {into} AS SELECT l.*{chosen}{age} FROM {labels} l ASOF LEFT JOIN "
        f"(SELECT {keys}, at_us, max(struct_pack({fields})) AS newest FROM ({offline.select(view)}) GROUP BY {keys}, at_us) f "
        f"ON {same} AND l.label_us >= f.at_us"
    )


def _read(column: Column) -> str:
    """Return the SQL for a column as a reader would have read it at the label's time."""
    kept = f'f.newest."{column.name}"'
    return f"l.label_us / 1e6 - {kept}" if column.type == "age" else kept


def _labels(connection: Any, labels: Any) -> str:
    """Return what stands for the labels in FROM."""
    if isinstance(labels, str | Path):
        path = str(labels)
        if not any(c in path for c in "*?[") and "://" not in path and not Path(path).exists():
            raise UsageError(f"the labels are not there: {path}")
        reader = "read_csv" if path.endswith((".csv", ".csv.gz", ".tsv")) else "read_parquet"
        return f"{reader}('{_quoted(path)}')"
    connection.register("labels_told", dict(labels) if isinstance(labels, Mapping) else labels)
    return "labels_told"


def _quoted(path: str | Path) -> str:
    return str(path).replace("'", "''")
