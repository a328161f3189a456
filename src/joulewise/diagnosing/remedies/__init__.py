"""Remedies: what can be changed in a program without an edit, by the hook that also watches it. One file each.

`KNOBS` is the list: what a knob may be set to, which waste it is the remedy of, and what to say where nothing could be
changed. The files beside this one run inside the program, loaded by their place: they need the standard library only
and import nothing of joulewise; `trial.py` and `sandbox.py` are no remedies, they make a trial of a run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.finding import Cause


@dataclass(frozen=True, slots=True)
class Knob:
    """One thing that can be changed: what it may be set to (a pattern, and in words), of which waste it is the remedy."""

    values: str
    words: str
    usual: str  # what a bare name means; "" where a value is needed
    causes: tuple[Cause, ...]
    nothing: str  # why nothing was changed, where no loader or framework came by
    exact: bool = False  # the program computes the same numbers as before


KNOBS: Mapping[str, Knob] = {
    "threads": Knob(
        r"[1-9]\d{0,3}", "a number, for instance threads=1", "", (Cause.THREAD_OVERSUBSCRIPTION,),
        "no Python process was entered", exact=True,
    ),
    "workers": Knob(
        r"\d{1,3}", "a number, for instance workers=0", "", (Cause.TOO_MANY_LOADER_WORKERS, Cause.TOO_FEW_LOADER_WORKERS),
        "no DataLoader was made with another number of workers", exact=True,
    ),
    "batch": Knob(
        r"x[1-9]\d*(\.\d+)?|[1-9]\d*", "a factor or a size, for instance batch=x4 or batch=64", "", (Cause.SMALL_BATCH,),
        "no shuffling DataLoader was made: the program makes its batches itself, change its batch size there",
    ),
    "cache": Knob(
        "on", "on", "on", (Cause.SLOW_TRANSFORMS, Cause.REREADING_INPUT, Cause.REPEATED_EXPERIMENTS, Cause.REPEATED_PREPROCESSING),
        "no DataLoader fetched from a data set of items, and no fit of an estimator came twice with the same input: prepare the data "
        "once in the program, with joulewise.cached",
        exact=True,
    ),
    "precision": Knob(
        "bf16", "bf16 (fp16 needs a gradient scaler in the program)", "", (Cause.PRECISION_UNUSED,),
        "no PyTorch model of float32 weights was called",
    ),
    "validate": Knob(
        "epoch", "epoch", "epoch", (Cause.VALIDATION_TOO_OFTEN,),
        "the program's own loop decides when it validates: put the call behind the loop over the batches",
        exact=True,
    ),
    "early-stop": Knob(
        r"[1-9]\d{0,3}|", "a patience, or nothing", "", (Cause.OVER_TRAINING,),
        "no framework came by that offers a stop (XGBoost, LightGBM, Keras, Lightning, Transformers): stop in the program, "
        "with joulewise.stopping",
    ),
}  # fmt: skip
_BARE = ("cache", "validate", "early-stop")


def parse(text: str) -> dict[str, str]:
    """Return the knobs of `batch=x4,cache,threads=1` with their values; raises UsageError for one that is wrong."""
    asked: dict[str, str] = {}
    for word in filter(None, (w.strip() for w in text.split(","))):
        name, equals, value = word.partition("=")
        if name not in KNOBS:
            raise UnknownName("knob", name, KNOBS, f"(they are {', '.join(KNOBS)})")
        knob = KNOBS[name]
        if not equals and name in _BARE:
            value = knob.usual
        elif not re.fullmatch(knob.values, value):
            raise UsageError(f"{name} is {value!r}, but must be {knob.words}")
        if name in asked:
            raise UsageError(f"{name} is given twice; give it once")
        asked[name] = value
    if not asked:
        raise UsageError(f"no knob is named; give for instance threads=1 or batch=x4 ({', '.join(KNOBS)})")
    return asked
