"""A trial is a finding put to the test: a short piece of the user's own program, with one knob changed and without.

    Trial
      ├── knob, cause     what was changed (`batch=x4`), the waste it is the remedy of
      ├── step_share      how much less a sample cost in training
      ├── run_share       how much less the whole run would have cost: what a finding promises
      ├── verdict         confirmed, corrected, withdrawn, or unclear
      └── quality         what the trial can say of it, in words

It is kept in the ledger beside the savings that were settled, and `diagnose` shows it with its finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.finding import Cause


class TrialVerdict(StrEnum):
    """What a trial says of a finding."""

    CONFIRMED = "confirmed"  # saves, and the promise's interval meets the outcome's
    CORRECTED = (
        "corrected"  # saves at least 5 % of the run, but not what was promised (or nothing was promised)
    )
    WITHDRAWN = "withdrawn"  # saves less than 5 % of the run
    UNCLEAR = "unclear"  # the noise is larger than the saving


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of a trial. Shares are of joules where `unit` is "J", of CPU seconds where it is "cpu_s".

    `wall_share` is how much shorter the whole run would be. `equal_quality` is None where a short piece cannot tell.
    `cost` is what all sides of the trial used, in `unit`.
    """

    run: str
    knob: str
    cause: Cause
    unit: str
    step_share: Figure
    run_share: Figure
    wall_share: float
    promised_share: Figure | None
    verdict: TrialVerdict
    equal_quality: bool | None
    quality: str
    pairs: int
    cost: float
    changed: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain values, from which `trial_from_json` makes the same trial."""
        return asdict(self)


def trial_from_json(fields: Mapping[str, Any]) -> Trial:
    """Return the trial that `as_json` wrote."""
    told = dict(fields)
    told["cause"] = Cause(told["cause"])
    told["verdict"] = TrialVerdict(told["verdict"])
    told["changed"] = tuple(told["changed"])
    for name in ("step_share", "run_share", "promised_share"):
        told[name] = _figure(told[name])
    return Trial(**told)


def _figure(fields: Mapping[str, Any] | None) -> Figure | None:
    if fields is None:
        return None
    return Figure(fields["value"], fields["low"], fields["high"], Basis(fields["basis"]), fields["source"])
