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

from joulewise.diagnosing.loop_edits import called, diff_of, holds, in_loops, moved, other_period, parsed
from joulewise.diagnosing.validation_too_often import most_made, steps_between
from joulewise.vocabulary.observed import ProcessView


def validation_diff(source: str, view: ProcessView, name: str) -> str | None:
    """Return the unified diff of a program that evaluates too often; None where its loop does not let itself be read."""
    made = most_made(view)
    if made is None:
        return None
    function = made[1].where.rpartition(":")[2]
    tree = parsed(source)
    if tree is None:
        return None
    calls = [c for c in ast.walk(tree) if isinstance(c, ast.Call) and called(c) == function]
    inside = [(loops, statement) for loops, statement in in_loops(tree) if holds(statement, calls)]
    if len(inside) != 1:  # none, or several: which of them is the one too many is not known
        return None
    loops, statement = inside[0]
    lines = source.splitlines(keepends=True)
    after = other_period(tree, lines, statement, steps_between(view))
    if after is None and len(loops) > 1:
        after = moved(lines, loops[-1], statement)
    if after is None:
        return None
    return diff_of(lines, after, name)
