"""How a view's columns are computed, as fingerprints: equal ones compute the same thing.

*Strict*: the expression with everything that decides over its rows (FROM, WHERE, GROUP BY, WITH); two views with one such
column compute it twice, and the values are the same. *Loose*: an aggregate of a column of a table, whoever it is asked for; a
request's `SELECT sum(amount) FROM events WHERE user = ?` and a view's `sum(amount) ... GROUP BY user` are the same
derivation, once for one entity and once for all. Parsed by DuckDB, so spaces, aliases and case do not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from joulewise.features.offline import Offline
from joulewise.features.views import View

_TIMES = re.compile(r"\$(now|since)\b")
_PLACES = re.compile(r"%s|%\(\w+\)s|(?<![:\w]):\w+")


def derivations(offline: Offline, view: View) -> dict[str, str]:
    """Return for each column of a view in SQL the strict fingerprint of how it is computed.

    Sources count by what they are, not by what they are called.
    """
    node = _parsed(offline.connection, _TIMES.sub("NULL", view.sql)) if view.sql else {}
    if node.get("type") != "SELECT_NODE":
        return {}
    around = {k: v for k, v in _plain(node, view).items() if k != "select_list"}
    given = {_name(e): _digest([_plain({**e, "alias": ""}, view), around]) for e in node["select_list"]}
    return {c.name: given[c.name] for c in offline.columns(view) if c.name in given}


def aggregates(connection: Any, sql: str) -> dict[str, str]:
    """Return the aggregates and windows in a statement's SELECT list: the column's name to its loose fingerprint.

    Empty for what DuckDB cannot read (another dialect) and for statements without any.
    """
    node = _parsed(connection, _PLACES.sub("?", _TIMES.sub("NULL", sql)))
    if node.get("type") != "SELECT_NODE":
        return {}
    tables = sorted({str(t["table_name"]).casefold() for t in _all(node) if t.get("type") == "BASE_TABLE"})
    known = connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
    ).fetchall()
    return {
        _name(expression) or f"column {place}": _digest([_loose(expression), tables])
        for place, expression in enumerate(node["select_list"], 1)
        if tables and any((str(one.get("function_name")).casefold(),) in known for one in _all(expression))
    }


def _parsed(connection: Any, sql: str) -> dict[str, Any]:
    tree = json.loads(connection.execute("SELECT json_serialize_sql($1)", [sql]).fetchone()[0])
    if tree.get("error") or len(tree["statements"]) != 1:
        return {}
    node: dict[str, Any] = tree["statements"][0]["node"]
    return node


def _name(expression: Mapping[str, Any]) -> str:
    return str(expression.get("alias") or (expression.get("column_names") or [""])[-1])


def _digest(told: Any) -> str:
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=8).hexdigest()


def _plain(tree: Any, view: View) -> Any:
    """Return a parsed statement without what changes nothing: positions, and the names of sources."""
    if isinstance(tree, list):
        return [_plain(item, view) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("type") == "BASE_TABLE" and tree.get("table_name") in view.sources:
        source = view.sources[tree["table_name"]]
        return {"source": [os.path.abspath(source.place), source.query]}
    return {k: _plain(v, view) for k, v in tree.items() if not k.startswith("query_location")}


def _loose(tree: Any) -> Any:
    """Return an expression without what does not belong to the derivation: windows, aliases, qualifiers, values, positions."""
    if isinstance(tree, list):
        return [_loose(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("class") == "COLUMN_REF":
        return str(tree["column_names"][-1]).casefold()
    if tree.get("class") in ("CONSTANT", "PARAMETER"):
        return "?"
    if tree.get("class") in ("FUNCTION", "WINDOW"):
        given = tree["arguments"] if "arguments" in tree else tree["children"]  # DuckDB 2, DuckDB 1
        return [
            str(tree["function_name"]).casefold().removesuffix("_star"),
            [_loose(one.get("expression", one)) for one in given],
            bool(tree.get("distinct")),
            _loose(tree.get("filter") or tree.get("filter_expr")),
        ]
    return {k: _loose(v) for k, v in tree.items() if k != "alias" and not k.startswith("query_location")}


def _all(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield the parts of a parsed statement that are objects, the outermost first."""
    if isinstance(tree, dict):
        yield tree
    for item in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _all(item)
