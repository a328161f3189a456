"""What can go wrong, said in one line: what failed, the value seen, what to do.

    JoulewiseError
    ├── UsageError            wrong input: exit code 2
    │   ├── UnknownName       a name that is not known; suggests the nearest
    │   └── UnlikeSignals     two series of unlike meaning: marginal and average, grams and money
    ├── RecordingError        a recording that is missing, foreign, or of a future format
    ├── FeatureError          an online store that is away, damaged, or busy
    ├── LedgerError           a ledger that cannot be opened, or is newer than this joulewise
    │   └── LedgerAway        it does not answer, or is busy: worth another try
    ├── GridError             a grid service that does not answer (its caller falls back and says so)
    ├── EngineError           a scheduler or a process that cannot be told what to do
    │   ├── Refused           it cannot, or the user may not: exit code 2 (launching/port.py)
    │   └── Unreachable       it does not answer
    ├── MeterError            a device that cannot be read (the recorder turns it into `Missing`)
    └── BudgetExceeded        a hard limit was reached: exit code 3

Only the doors (`cli`, `web`) turn these into exit codes; everybody else lets them pass.
"""

from __future__ import annotations

from collections.abc import Iterable


class JoulewiseError(Exception):
    """Something went wrong that the user can understand; the message says what to do."""

    exit_code = 1


class UsageError(JoulewiseError):
    """The input is wrong; the message names the value seen and what was expected."""

    exit_code = 2


class UnknownName(UsageError):  # noqa: N818 - it names the state, as `KeyError` would
    """A name is not known; the message suggests the nearest known one."""

    def __init__(self, what: str, name: str, known: Iterable[str], advice: str = "") -> None:
        from difflib import get_close_matches

        names = list(known)
        folded = {n.casefold(): n for n in names}
        near = [folded[n] for n in get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        joint = " " if near or advice.startswith("(") else "; "
        super().__init__(f"unknown {what} {name!r}{hint}{joint + advice if advice else ''}")


class UnlikeSignals(UsageError):  # noqa: N818 - it names the state
    """Two signals do not mean the same and must not be compared or joined; the message names the difference."""


class RecordingError(UsageError):
    """A recording is missing, foreign, damaged beyond use, or of a future format."""


class LedgerError(JoulewiseError):
    """The ledger cannot be opened, or belongs to a newer joulewise."""


class LedgerAway(LedgerError):  # noqa: N818 - it names the state
    """The ledger's server does not answer, or another process writes to it for long: worth another try."""


class GridError(JoulewiseError):
    """A grid service does not answer, refuses, or answers what cannot be read; the message says what is used instead."""


class FeatureError(JoulewiseError):
    """An online store of features that is away, damaged, or held by another process."""


class EngineError(JoulewiseError):
    """An engine (local processes, Slurm, Ray, Kubernetes) refuses, or does not answer."""


class MeterError(JoulewiseError):
    """A device cannot be read; the recorder lists it as missing and goes on."""


class BudgetExceeded(JoulewiseError):  # noqa: N818 - it names the state
    """A hard limit was reached; raised at the next safe point of `joulewise.track`."""

    exit_code = 3
