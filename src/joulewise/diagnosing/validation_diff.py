"""The diff that makes a program evaluate once an epoch, where its own loop can be seen in its source.

Two changes are made, the first that fits:

    the period   `step % VAL_EVERY == 0` with a number that is used for nothing else becomes the steps of an epoch
    the place    a call in the loop over the batches, or an `if` that holds it, moves behind that loop

Only a call of the function that was seen evaluating is moved, out of a loop that stands in another loop, and only if nothing
is left behind that needs what it assigns. Everything else has no diff: a change that is wrong is worse than none.

`validation_diff(source, view, name)` is pure; `name` stands in the diff's head.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from difflib import unified_diff

from joulewise.diagnosing.validation_too_often import most_made, steps_between
from joulewise.vocabulary.observed import ProcessView

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_LEAVES = (ast.Break, ast.Continue, ast.Return, ast.Yield, ast.YieldFrom, ast.Await)


def validation_diff(source: str, view: ProcessView, name: str) -> str | None:
    """Return the unified diff of a program that evaluates too often; None where its loop does not let itself be read."""
    made = most_made(view)
    if made is None:
        return None
    function = made[1].where.rpartition(":")[2]
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    calls = [c for c in ast.walk(tree) if isinstance(c, ast.Call) and _called(c) == function]
    inside = [(loops, statement) for loops, statement in _in_loops(tree) if _holds(statement, calls)]
    if len(inside) != 1:  # none, or several: which of them is the one too many is not known
        return None
    loops, statement = inside[0]
    lines = source.splitlines(keepends=True)
    after = _other_period(tree, lines, statement, steps_between(view))
    if after is None and len(loops) > 1:
        after = _moved(lines, loops[-1], statement)
    if after is None:
        return None
    return "".join(unified_diff(lines, after, f"a/{name}", f"b/{name}", n=2))


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _holds(statement: ast.stmt, calls: list[ast.Call]) -> bool:
    within = set(map(id, ast.walk(statement)))
    return any(id(call) in within for call in calls)


def _in_loops(tree: ast.AST) -> Iterator[tuple[list[ast.stmt], ast.stmt]]:
    """Yield each statement that stands directly in the body of a loop without loops below, with the loops around it."""

    def below(node: ast.AST, loops: list[ast.stmt]) -> Iterator[tuple[list[ast.stmt], ast.stmt]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
                yield from below(child, [])
            elif isinstance(child, _LOOPS):
                if not any(isinstance(n, _LOOPS) for s in child.body for n in ast.walk(s)):
                    yield from (([*loops, child], s) for s in child.body)
                else:
                    yield from below(child, [*loops, child])
            else:
                yield from below(child, loops)

    return below(tree, [])


def _other_period(tree: ast.AST, lines: list[str], statement: ast.stmt, period: int) -> list[str] | None:
    """Return the lines with another number in `step % NUMBER == 0`, where it is written once and serves nothing else."""
    if not isinstance(statement, ast.If) or not isinstance(statement.test, ast.Compare):
        return None
    left = statement.test.left
    if not isinstance(left, ast.BinOp) or not isinstance(left.op, ast.Mod):
        return None
    number: ast.expr = left.right
    if isinstance(number, ast.Name):
        named = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == number.id]
        given = [
            a.value
            for a in ast.walk(tree)
            if isinstance(a, ast.Assign)
            and len(a.targets) == 1
            and getattr(a.targets[0], "id", "") == number.id
        ]
        if len(named) != 2 or len(given) != 1:  # written once, read once
            return None
        number = given[0]
    if not isinstance(number, ast.Constant) or type(number.value) is not int or number.value >= period:
        return None
    line = lines[number.lineno - 1]
    if not line.isascii():  # columns are counted in bytes
        return None
    changed = f"{line[: number.col_offset]}{period}{line[number.end_col_offset :]}"
    return [*lines[: number.lineno - 1], changed, *lines[number.lineno :]]


def _moved(lines: list[str], loop: ast.stmt, statement: ast.stmt) -> list[str] | None:
    """Return the lines with a statement, or what its `if` holds, behind the loop that it stands in."""
    body = [statement]
    if isinstance(statement, ast.If):
        if statement.orelse:
            return None
        body = statement.body
    rest = [n for s in getattr(loop, "body", []) if s is not statement for n in ast.walk(s)]
    assigned = {
        n.id for s in body for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    needed = {n.id for n in rest if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    leaves = any(isinstance(n, _LEAVES) for s in body for n in ast.walk(s))
    alone = len(getattr(loop, "body", [])) == 1
    if leaves or assigned & needed or alone or getattr(loop, "orelse", []):
        return None
    begin, end = statement.lineno - 1, statement.end_lineno or statement.lineno
    last = loop.end_lineno or loop.lineno
    first = body[0].lineno - 1
    block = textwrap.dedent("".join(lines[first:end]))
    if (body[0] is not statement and first == begin) or '"""' in block or "'''" in block:
        return None  # `if ...: validate()` in one line; text that must keep its indentation
    moved = textwrap.indent(block, " " * loop.col_offset).splitlines(keepends=True)
    if not moved[-1].endswith("\n"):
        moved[-1] += "\n"
    return [*lines[:begin], *lines[end:last], *moved, *lines[last:]]
