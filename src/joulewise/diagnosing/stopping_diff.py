"""The diff that stops a training whose held-out metric no longer improves, where the program already keeps its best weights.

It needs one `if VAL > BEST:` directly in the loop over the epochs, of the metric that was seen (a loss: `<`), which assigns BEST and
keeps something of the model (a copy, a file). Then the program is to count epochs without a gain, and to leave the loop. A program
that keeps no best weights has no diff: after the stop it would go on with worse ones.
`stopping_diff(source, view, name)` is pure; `name` stands in the diff's head.
"""

from __future__ import annotations

import ast

from joulewise.diagnosing.loop_edits import LOOPS, called, diff_of, parsed
from joulewise.diagnosing.over_training import PATIENCE, held_out_curve
from joulewise.vocabulary.observed import ProcessView

_KEEPS = (
    "deepcopy",
    "state_dict",
    "save",
    "save_pretrained",
    "save_checkpoint",
    "save_model",
    "get_weights",
    "clone",
)
_COUNTER = "epochs_without_gain"


def stopping_diff(source: str, view: ProcessView, name: str) -> str | None:
    """Return the unified diff of a program that trains on after its best; None where its loop does not let itself be read."""
    tree, curve = parsed(source), held_out_curve(view)
    if tree is None or curve is None or _COUNTER in source:
        return None
    better = (ast.Gt, ast.GtE) if curve.sign > 0 else (ast.Lt, ast.LtE)
    places = [
        (loop, statement)
        for loop in ast.walk(tree)
        if isinstance(loop, ast.For) and not loop.orelse and not _goes_round(loop)
        for statement in loop.body
        if isinstance(statement, ast.If) and _keeps_best(statement, curve.name, better)
    ]
    if len(places) != 1:
        return None
    loop, check = places[0]
    lines = source.splitlines(keepends=True)
    if not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    if loop.body[0].lineno == loop.lineno or check.body[0].lineno == check.lineno:
        return None
    outer, inner, deeper = (_indent(lines, node) for node in (loop, check, check.body[0]))
    step = deeper[len(inner) :]
    last, behind = check.end_lineno or check.lineno, loop.end_lineno or loop.lineno
    after = [
        *lines[: loop.lineno - 1], f"{outer}{_COUNTER} = 0\n",
        *lines[loop.lineno - 1 : last], f"{deeper}{_COUNTER} = 0\n", f"{inner}else:\n", f"{deeper}{_COUNTER} += 1\n",
        *lines[last:behind], f"{inner}if {_COUNTER} >= {PATIENCE}:\n", f"{inner}{step}break\n", *lines[behind:],
    ]  # fmt: skip
    return diff_of(lines, after, name)


def _keeps_best(statement: ast.If, metric: str, better: tuple[type[ast.cmpop], ...]) -> bool:
    test = statement.test
    if statement.orelse or not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return False
    left, right = test.left, test.comparators[0]
    if not (isinstance(test.ops[0], better) and isinstance(left, ast.Name) and isinstance(right, ast.Name)):
        return False
    assigned = {
        n.id
        for s in statement.body
        for n in ast.walk(s)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    kept = any(isinstance(n, ast.Call) and called(n) in _KEEPS for s in statement.body for n in ast.walk(s))
    return left.id == metric and right.id in assigned and kept


def _goes_round(loop: ast.For) -> bool:
    """Whether the loop goes round before its end: what is added there would be passed over."""
    inner = {id(n) for s in ast.walk(loop) if isinstance(s, LOOPS) and s is not loop for n in ast.walk(s)}
    return any(isinstance(n, ast.Continue) and id(n) not in inner for n in ast.walk(loop))


def _indent(lines: list[str], node: ast.stmt) -> str:
    line = lines[node.lineno - 1]
    return line[: len(line) - len(line.lstrip())]
