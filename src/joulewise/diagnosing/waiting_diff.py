"""The diff that makes a service wait for its queue instead of asking it again and again.

Changed is `get_nowait()`, or `get(False)`, in a loop that does nothing where the queue is empty but go round again
(`except queue.Empty: continue`): `get(timeout=1.0)` raises the same. A loop that does anything but count in a round without an item
would do so once a second only: it is left alone, as are the queues of asyncio, which have no timeout. `waiting_diff(source, view, name)` is pure; `name` stands in the diff's head.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from joulewise.diagnosing.loop_edits import called, diff_of, parsed
from joulewise.vocabulary.observed import ProcessView

_WAITS = "get(timeout=1.0)"  # a service that is told to stop does so within a second


def waiting_diff(source: str, _view: ProcessView, name: str) -> str | None:
    """Return the unified diff of a program that polls a queue; None where it does not let itself be read."""
    tree = parsed(source)
    if tree is None:
        return None
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.While)]
    asked = [
        (call, [*loop.body[:n], *_behind(loop.body, n)])
        for loop in loops
        for n, statement in enumerate(loop.body)
        if (call := _asked(statement)) is not None
    ]
    if len(asked) != 1:
        return None
    call, meanwhile = asked[0]
    if not all(map(_counts, meanwhile)):
        return None
    lines = source.splitlines(keepends=True)
    line = lines[call.lineno - 1]
    if call.end_lineno != call.lineno or not line.isascii() or not isinstance(call.func, ast.Attribute):
        return None
    begin = (call.func.value.end_col_offset or 0) + 1  # behind the dot
    after = [
        *lines[: call.lineno - 1],
        f"{line[:begin]}{_WAITS}{line[call.end_col_offset :]}",
        *lines[call.lineno :],
    ]
    return diff_of(lines, after, name)


def _asked(statement: ast.stmt) -> ast.Call | None:
    """Return the call that asks a queue without waiting, in a `try` that does nothing where it is empty."""
    if (
        not isinstance(statement, ast.Try)
        or statement.orelse
        or statement.finalbody
        or len(statement.handlers) != 1
    ):
        return None
    handler = statement.handlers[0]
    kind = handler.type
    caught = kind.attr if isinstance(kind, ast.Attribute) else getattr(kind, "id", "")
    if (
        caught != "Empty"
        or len(handler.body) != 1
        or not isinstance(handler.body[0], (ast.Continue, ast.Pass))
    ):
        return None
    found = [c for c in ast.walk(statement) if isinstance(c, ast.Call) and _is_asking(c)]
    first = set(map(id, ast.walk(statement.body[0])))  # what stands before it is done in every round
    return found[0] if len(found) == 1 and id(found[0]) in first else None


def _behind(body: Sequence[ast.stmt], n: int) -> Sequence[ast.stmt]:
    """Return what is done behind the n-th statement, a `try`, in a round without an item."""
    statement = body[n]
    passes = isinstance(statement, ast.Try) and isinstance(statement.handlers[0].body[0], ast.Pass)
    return body[n + 1 :] if passes else ()


def _counts(statement: ast.stmt) -> bool:
    """Whether a statement does no more than count."""
    return isinstance(statement, ast.AugAssign) and isinstance(statement.value, ast.Constant)


def _is_asking(call: ast.Call) -> bool:
    if called(call) == "get_nowait":
        return not call.args and not call.keywords
    given = [*call.args, *(k.value for k in call.keywords if k.arg == "block")]
    return (
        called(call) == "get"
        and len(given) == len(call.args) + len(call.keywords) == 1
        and isinstance(given[0], ast.Constant)
        and given[0].value is False
    )
