"""What diffs of a program's loops have in common: statements in loops, another period, a statement moved behind its loop. Pure."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Sequence
from difflib import unified_diff

LOOPS = (ast.For, ast.AsyncFor, ast.While)
_LEAVES = (ast.Break, ast.Continue, ast.Return, ast.Yield, ast.YieldFrom, ast.Await)


def parsed(source: str) -> ast.Module | None:
    """Return the tree of a program; None where it is none."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None


def diff_of(before: Sequence[str], after: Sequence[str], name: str) -> str:
    """Return the unified diff of a program's lines, as `patch -p1` takes it."""
    return "".join(unified_diff(before, after, f"a/{name}", f"b/{name}", n=2))


def called(call: ast.Call) -> str:
    """Return the name of what is called."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def holds(statement: ast.stmt, calls: Sequence[ast.Call]) -> bool:
    """Whether one of these calls stands in a statement."""
    within = set(map(id, ast.walk(statement)))
    return any(id(call) in within for call in calls)


def in_loops(tree: ast.AST) -> Iterator[tuple[list[ast.stmt], ast.stmt]]:
    """Yield each statement that stands directly in the body of a loop without loops below, with the loops around it."""

    def below(node: ast.AST, loops: list[ast.stmt]) -> Iterator[tuple[list[ast.stmt], ast.stmt]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
                yield from below(child, [])
            elif isinstance(child, LOOPS):
                if not any(isinstance(n, LOOPS) for s in child.body for n in ast.walk(s)):
                    yield from (([*loops, child], s) for s in child.body)
                else:
                    yield from below(child, [*loops, child])
            else:
                yield from below(child, loops)

    return below(tree, [])


def other_period(tree: ast.AST, lines: list[str], statement: ast.stmt, period: int) -> list[str] | None:
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


def moved(lines: list[str], loop: ast.stmt, statement: ast.stmt) -> list[str] | None:
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
