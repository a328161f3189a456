"""The diff of a finding's remedy in the program's own source, for the wastes whose loop can be read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from joulewise.diagnosing.checkpoint_diff import checkpoint_diff
from joulewise.diagnosing.preparation_diff import preparation_diff
from joulewise.diagnosing.stopping_diff import stopping_diff
from joulewise.diagnosing.validation_diff import validation_diff
from joulewise.diagnosing.waiting_diff import waiting_diff
from joulewise.vocabulary.finding import Cause
from joulewise.vocabulary.observed import ProcessView

DIFFS: Mapping[Cause, Callable[[str, ProcessView, str], str | None]] = {
    Cause.VALIDATION_TOO_OFTEN: validation_diff,
    Cause.CHECKPOINT_TOO_OFTEN: checkpoint_diff,
    Cause.OVER_TRAINING: stopping_diff,
    Cause.REPEATED_PREPROCESSING: preparation_diff,
    Cause.BUSY_IDLE_SERVICE: waiting_diff,
}


def program_diff(cause: Cause, source: str, view: ProcessView, name: str) -> str | None:
    """Return the unified diff that removes a waste from a program; None where none is known to be right."""
    known = DIFFS.get(cause)
    return None if known is None else known(source, view, name)
