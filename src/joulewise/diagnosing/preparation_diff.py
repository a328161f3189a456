"""The diff that prepares data once, where a function of the program prepares them before it looks at any of its arguments.

What stands at the head of the function and depends on none of its arguments moves into a function of its own, with
`functools.cache`. The finding has seen that it came out the same every time; the diff is given only if the rest does not write into
what was prepared: it may be handed to estimators and libraries, read by attributes and indices, and nothing else.
`preparation_diff(source, view, name)` is pure; `name` stands in the diff's head.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from joulewise.diagnosing.loop_edits import called, diff_of, parsed
from joulewise.diagnosing.repeated_preprocessing import PREPARING
from joulewise.vocabulary.observed import ProcessView

_READS = (
    "transform", "predict", "predict_proba", "score", "astype", "reshape", "mean", "sum", "std", "min", "max", "copy", "tolist",
    "argmax", "get_feature_names_out", "decision_function", "inverse_transform",
)  # fmt: skip
_SCOPES = (ast.Global, ast.Nonlocal, ast.Yield, ast.YieldFrom, ast.Await)


def preparation_diff(source: str, view: ProcessView, name: str) -> str | None:
    """Return the unified diff of a program that prepares the same data again; None where its functions do not let themselves be read."""
    tree = parsed(source)
    methods = {p.method for p in view.preparations if p.method in PREPARING and p.calls > 1}
    if tree is None or "cache" in {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}:
        return None
    own = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    found = [
        (function, head)
        for function in tree.body
        if isinstance(function, ast.FunctionDef) and (head := _head(function)) and _prepares(head, methods)
    ]
    if len(found) != 1:
        return None
    function, head = found[0]
    rest = function.body[function.body.index(head[-1]) + 1 :]
    made = [n for s in head for n in _stored(s)]
    needed = {n.id for s in rest for n in ast.walk(s) if isinstance(n, ast.Name)}
    given = [n for n in dict.fromkeys(made) if n in needed]
    imports = next(
        (
            s
            for s in tree.body
            if isinstance(s, ast.Import | ast.ImportFrom) and getattr(s, "module", "") != "__future__"
        ),
        None,
    )
    lines = source.splitlines(keepends=True)
    if (
        not given
        or imports is None
        or not all(map(_only_reads, rest, [given] * len(rest), [own] * len(rest)))
    ):
        return None
    begin, end = head[0].lineno - 1, head[-1].end_lineno or head[-1].lineno
    first = min([function.lineno, *(d.lineno for d in function.decorator_list)]) - 1
    indent = lines[begin][: head[0].col_offset]
    if indent.strip() or imports.lineno - 1 > first:
        return None
    prepared, names = f"prepared_for_{function.name}", ", ".join(given)
    after = [
        *lines[: imports.lineno - 1], "from functools import cache\n", *lines[imports.lineno - 1 : first],
        "@cache\n", f"def {prepared}():\n", *lines[begin:end], f"{indent}return {names}\n", "\n", "\n",
        *lines[first:begin], f"{indent}{names} = {prepared}()\n", *lines[end:],
    ]  # fmt: skip
    return None if prepared in source else diff_of(lines, after, name)


def _head(function: ast.FunctionDef) -> list[ast.stmt]:
    """Return the assignments at the head of a function that depend on none of its arguments."""
    if any(isinstance(n, _SCOPES) for n in ast.walk(function)):
        return []
    told = function.args
    arguments = {
        a.arg for a in (*told.posonlyargs, *told.args, *told.kwonlyargs, told.vararg, told.kwarg) if a
    }
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    head: list[ast.stmt] = []
    for statement in body:
        names = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
        if (
            not isinstance(statement, ast.Assign)
            or names & arguments
            or len(_stored(statement)) != _targets(statement)
        ):
            break
        head.append(statement)
    return head if arguments and len(head) < len(body) else []


def _targets(statement: ast.Assign) -> int:
    """Return how many targets an assignment has, whatever they are."""
    parts = [p for t in statement.targets for p in (t.elts if isinstance(t, ast.Tuple | ast.List) else [t])]
    return len(parts)


def _stored(statement: ast.stmt) -> list[str]:
    """Return the plain names that an assignment gives a value."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    parts = [p for t in targets for p in (t.elts if isinstance(t, ast.Tuple | ast.List) else [t])]
    return [p.id for p in parts if isinstance(p, ast.Name)]


def _prepares(head: Sequence[ast.stmt], methods: set[str]) -> bool:
    return any(isinstance(n, ast.Call) and called(n) in methods for s in head for n in ast.walk(s))


def _only_reads(statement: ast.stmt, names: Sequence[str], own: set[str]) -> bool:
    """Whether a statement does not write into what was prepared, nor hands it to a function that might."""
    parents = {id(child): node for node in ast.walk(statement) for child in ast.iter_child_nodes(node)}
    return all(
        _reads(node, parents, own)
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and node.id in names
    )


def _reads(node: ast.Name, parents: dict[int, ast.AST], own: set[str]) -> bool:
    if not isinstance(node.ctx, ast.Load):
        return False
    for child, parent in _upwards(node, parents):
        if isinstance(parent, ast.Subscript | ast.Attribute):
            if not isinstance(parent.ctx, ast.Load) and parent.value is child:
                return False
        elif isinstance(parent, ast.Call):
            if parent.func is child:
                return isinstance(child, ast.Attribute) and child.attr in _READS
            return called(parent) not in own
        elif isinstance(parent, ast.stmt):
            return not isinstance(parent, ast.AugAssign | ast.Delete | ast.Assign | ast.For)
    return True


def _upwards(node: ast.AST, parents: dict[int, ast.AST]) -> Iterator[tuple[ast.AST, ast.AST]]:
    while id(node) in parents:
        yield node, parents[id(node)]
        node = parents[id(node)]
