"""What the program itself calls its numbers: read from the frames of the calling code, and let go at once."""

from __future__ import annotations

import os
import re
import sys
from types import CodeType, FrameType
from typing import Any

from .stdlib import is_library

_IS_LIBRARY: dict[str, bool] = {}
_EPOCH = re.compile(
    r"^(i_?|cur(rent)?_?|the_?)?(epoch|ep)(_?(i|idx|index|num|no|number|n|id))?$|^e$", re.IGNORECASE
)
_METRIC = re.compile(
    r"acc|loss|val|err|auc|f1|score|metric|recall|prec|ppl|perplex|bleu|mse|mae|rmse|r2|iou|wer|top1|top5|good|correct|hits|^lr$|reward|return",
    re.IGNORECASE,
)
_NO_METRIC = re.compile(
    r"every|interval|size|batch|^n_|num|len|epochs|patience|step|freq|seed|interv|valid_?n|criterion",
    re.IGNORECASE,
)
_MOST_FRAMES = 4
_PLACES = ("/site-packages/", "/dist-packages/", os.path.dirname(os.__file__) + "/")
_EPOCHS: dict[CodeType, tuple[str, ...]] = {}
_MOST_CODES = 1000


def user_frames() -> list[FrameType]:
    """Return the innermost frames of the program's own code, without libraries and without us."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - there is no other way to the caller
    found: list[FrameType] = []
    while frame is not None and len(found) < _MOST_FRAMES:
        name = frame.f_code.co_filename
        library = _IS_LIBRARY.get(name)
        if library is None:
            library = _IS_LIBRARY[name] = is_library(name)
        if not library:
            found.append(frame)
        frame = frame.f_back
    return found


def where() -> str:
    """Return the calling function, as `train.py:evaluate`; a comprehension in it has no name of its own."""
    frames = user_frames()
    frames = [f for f in frames if f.f_code.co_name not in ("<genexpr>", "<listcomp>", "<lambda>")] or frames
    return f"{os.path.basename(frames[0].f_code.co_filename)}:{frames[0].f_code.co_name}" if frames else ""


def under() -> str:
    """Return the library that called back the program's innermost function; "" if the program called it itself."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - there is no other way to the caller
    inside = False
    while frame is not None:
        path = frame.f_code.co_filename
        if not is_library(path):
            inside = True
        elif inside:
            if path.startswith("<"):  # the interpreter's own start
                return ""
            for folder in _PLACES:
                if folder in path:
                    return path.rpartition(folder)[2].partition("/")[0].removesuffix(".py")
            return os.path.basename(path).removesuffix(".py")
        frame = frame.f_back
    return ""


def epoch() -> float | None:
    """Return the value of a variable that is named like an epoch, from the innermost frame that has one."""
    for frame in user_frames():
        for name in _epochs(frame.f_code):
            value = _locals(frame, (name,)).get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value)
    return None


def _epochs(code: CodeType) -> tuple[str, ...]:
    """Return the variables of a function that are named like an epoch; of a module, what it may be."""
    if not code.co_flags & 1:
        return ("epoch", "ep")
    known = _EPOCHS.get(code)
    if known is None:
        known = tuple(name for name in code.co_varnames if _EPOCH.match(name))
        if len(_EPOCHS) < _MOST_CODES:
            _EPOCHS[code] = known
    return known


def metrics() -> dict[str, float]:
    """Return the numbers of the calling code that are named like a metric."""
    found: dict[str, float] = {}
    for frame in reversed(user_frames()):
        code = frame.f_code
        names = code.co_varnames if code.co_flags & 1 else tuple(frame.f_globals)
        wanted = tuple(
            n for n in names if _METRIC.search(n) and not _NO_METRIC.search(n) and not n.startswith("_")
        )
        if wanted:
            for name, value in _locals(frame, wanted).items():
                number = _number(value)
                if number is not None:
                    found[name] = number
    return found if len(found) <= 40 else {}


def _locals(frame: FrameType, names: tuple[str, ...]) -> dict[str, Any]:
    """Return some local variables; the copy of all of them, which the frame would keep alive, is emptied."""
    every = frame.f_locals
    found = {n: every[n] for n in names if n in every}
    if frame.f_code.co_flags & 1 and sys.version_info < (3, 13) and sys.gettrace() is None:
        every.clear()
    return found


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
    return None
