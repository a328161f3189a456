"""The diff that makes a program save as often as insures it, where `step % SAVE_EVERY == 0` says how often it does now.

The number is changed if it is written once and serves nothing else, and if what it guards is the only thing in a loop that saves:
a call that saves by itself (`torch.save`, `save_pretrained`, `pickle.dump`), or of a function of the program that holds one. And
it must do no more than save and tell so: an evaluation beside it would become as rare.
`checkpoint_diff(source, view, name)` is pure; `name` stands in the diff's head.
"""

from __future__ import annotations

import ast

from joulewise.diagnosing.checkpoint_too_often import steps_between_saves
from joulewise.diagnosing.loop_edits import called, diff_of, holds, in_loops, other_period, parsed
from joulewise.vocabulary.observed import Phase, ProcessView

_SAVES = (
    "save",
    "save_pretrained",
    "save_checkpoint",
    "save_model",
    "save_state",
    "save_file",
    "savez",
    "dump",
)
_BESIDE = (
    "open", "join", "format", "str", "Path", "makedirs", "mkdir", "replace", "rename", "time", "state_dict", "items", "cpu", "flush", "fsync",
    "fileno", "listdir", "sorted", "remove", "unlink", "exists", "print", "debug", "info", "log", "dict", "NamedTemporaryFile",
)  # fmt: skip


def checkpoint_diff(source: str, view: ProcessView, name: str) -> str | None:
    """Return the unified diff of a program that saves too often; None where its loop does not let itself be read."""
    tree = parsed(source)
    if tree is None or not view.phase(Phase.CHECKPOINT).calls:
        return None
    functions = [
        f.name
        for f in ast.walk(tree)
        if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) and _calls(f, _SAVES)
    ]
    saving = _calls(tree, (*_SAVES, *functions))
    inside = [statement for _, statement in in_loops(tree) if holds(statement, saving)]
    if len(inside) != 1:
        return None
    guarded = getattr(inside[0], "body", [])
    if not all(_only_saves(tree, s, functions) for s in guarded):
        return None
    lines = source.splitlines(keepends=True)
    after = other_period(tree, lines, inside[0], steps_between_saves(view))
    return None if after is None else diff_of(lines, after, name)


def _only_saves(tree: ast.AST, node: ast.AST, functions: list[str]) -> bool:
    """Whether all that is called there saves, or prepares and tells it; what calls itself does not let itself be read."""
    for call in (c for c in ast.walk(node) if isinstance(c, ast.Call)):
        bodies = [s for f in _named(tree, call) for s in f.body]
        if bodies:
            others = [name for name in functions if name != called(call)]
            if len(others) == len(functions) or not all(_only_saves(tree, s, others) for s in bodies):
                return False
        elif called(call) not in (*_SAVES, *_BESIDE):
            return False
    return True


def _named(tree: ast.AST, call: ast.Call) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the program's own functions that a call may mean: `torch.save` is none, though the program has a `save`."""
    function = call.func
    if isinstance(function, ast.Attribute) and getattr(function.value, "id", "") != "self":
        return []
    functions = (f for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return [f for f in functions if f.name == called(call)]


def _calls(tree: ast.AST, names: tuple[str, ...]) -> list[ast.Call]:
    return [c for c in ast.walk(tree) if isinstance(c, ast.Call) and called(c) in names]
