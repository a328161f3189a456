"""A claim of equal quality: what must be shown before a cheaper recipe may be called "the same".

The target metric and the margin are declared before the runs; at least three pairs of runs share their seeds; the mean
paired difference has a 90 % interval (Student's t), and its bad end must lie within the margin: non-inferiority at 5 %.
What finding the recipe cost counts against what it saves, and recipes that failed are listed. Without all this, the word
"same" is refused and the reason given. Pure: times are values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, isfinite, sqrt

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.student import t95

LEAST_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Declaration:
    """What is claimed, said before the runs: the metric, its direction, how much worse still counts as the same.

    `margin` is in the metric's unit. `target` is a quality that the candidate must reach besides (its mean), if any.
    """

    metric: str
    margin: float
    higher_is_better: bool
    declared_at: datetime
    target: float | None = None

    def __post_init__(self) -> None:
        """Refuse a margin that is not above 0, and a time without a zone."""
        if not (self.margin > 0 and isfinite(self.margin)):
            raise UsageError(
                f"margin is {self.margin:g}, but must be above 0: how much worse still counts as the same"
            )
        if self.declared_at.tzinfo is None:
            raise UsageError(f"declared_at is {self.declared_at.isoformat()}, without a time zone; give UTC")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One finished run: its seed, the quality on data that chose nothing, its joules and when it started."""

    seed: int
    quality: float
    energy_j: float
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """A recipe that was tried and given up: its name, its joules, why it failed."""

    recipe: str
    energy_j: float
    why: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What may be said: whether the quality is the same, and what the recipe saves.

    `difference` is candidate less baseline in the metric's unit, `saved_j` what one run saves, both with a 90 %
    interval over the pairs; None with fewer than two pairs. `finding_j` is what finding the recipe cost, failed recipes
    included; `pays_after` how many runs earn it back (None where a run saves nothing).
    """

    declaration: Declaration
    same: bool
    refusals: tuple[str, ...]
    seeds: tuple[int, ...]
    difference: Figure | None
    saved_j: Figure | None
    finding_j: float
    pays_after: int | None
    failed: tuple[Attempt, ...]

    def __str__(self) -> str:
        if not self.same:
            return f"{self.declaration.metric}: equal quality is not shown: {'; '.join(self.refusals)}"
        assert self.difference is not None  # noqa: S101 - a claim that holds has its pairs
        text = (
            f"the same {self.declaration.metric} within {self.declaration.margin:g} "
            f"({self.difference.value:+.4g}, {self.difference.low:+.4g} to {self.difference.high:+.4g}; "
            f"{len(self.seeds)} paired seeds)"
        )
        return f"{text}; {self._paid()}"

    def _paid(self) -> str:
        assert self.saved_j is not None  # noqa: S101 - as above
        saved = f"{self.saved_j.value:.3g} J less a run ({self.saved_j.low:.3g} to {self.saved_j.high:.3g})"
        pays = "never earned back" if self.pays_after is None else f"earned back after {self.pays_after} runs"
        tried = f", {len(self.failed)} failed recipes in it" if self.failed else ""
        return f"{saved}; finding it cost {self.finding_j:.3g} J{tried}, {pays}"


def judge(
    declaration: Declaration,
    baseline: Sequence[Outcome],
    candidate: Sequence[Outcome],
    *,
    finding_j: float,
    failed: Sequence[Attempt] = (),
) -> Claim:
    """Return what may be said of the candidate beside the baseline. Pure.

    `finding_j` is what choosing the candidate cost (probes, searches), without the failed recipes, which are added.
    """
    if not (finding_j >= 0 and isfinite(finding_j)):
        raise UsageError(f"finding_j is {finding_j:g}, but must be at least 0 joules; what cost nothing is 0")
    old, new = _by_seed("baseline", baseline), _by_seed("candidate", candidate)
    seeds = tuple(sorted(old.keys() & new.keys()))
    differences = [new[s].quality - old[s].quality for s in seeds]
    difference = _mean(differences)
    saved_j = _mean([old[s].energy_j - new[s].energy_j for s in seeds])
    cost_j = finding_j + sum(a.energy_j for a in failed)
    pays_after = ceil(cost_j / saved_j.value) if saved_j is not None and saved_j.value > 0 else None
    refusals = list(_refusals(declaration, old, new, seeds, difference))
    return Claim(
        declaration,
        not refusals,
        tuple(refusals),
        seeds,
        difference,
        saved_j,
        cost_j,
        pays_after,
        tuple(failed),
    )


def _by_seed(name: str, outcomes: Sequence[Outcome]) -> dict[int, Outcome]:
    by_seed: dict[int, Outcome] = {}
    for outcome in outcomes:
        if outcome.seed in by_seed:
            raise UsageError(f"{name} has two runs of seed {outcome.seed}; give each seed once")
        if outcome.started_at.tzinfo is None:
            raise UsageError(f"{name} of seed {outcome.seed} started without a time zone; give UTC")
        by_seed[outcome.seed] = outcome
    return by_seed


def _refusals(
    declaration: Declaration,
    old: dict[int, Outcome],
    new: dict[int, Outcome],
    seeds: tuple[int, ...],
    difference: Figure | None,
) -> list[str]:
    """Return why the word "same" is refused; nothing where it may be said."""
    refusals = []
    early = sum(o.started_at < declaration.declared_at for o in new.values())
    if early:
        refusals.append(f"{early} candidate runs started before the margin was declared")
    unpaired = sorted(old.keys() ^ new.keys())
    if unpaired:
        refusals.append(
            f"seeds {', '.join(map(str, unpaired))} have no partner; leaving runs out is choosing"
        )
    if len(seeds) < LEAST_SEEDS:
        refusals.append(f"{len(seeds)} paired seeds, at least {LEAST_SEEDS} are needed")
    broken = [s for s in seeds if not (isfinite(new[s].quality) and isfinite(old[s].quality))]
    if broken:
        refusals.append(f"seeds {', '.join(map(str, broken))} have no finite {declaration.metric}")
        return refusals
    if difference is not None:
        worst = difference.low if declaration.higher_is_better else -difference.high
        if worst < -declaration.margin:
            refusals.append(f"it may be worse by {-worst:.3g}, and the margin is {declaration.margin:g}")
    if declaration.target is not None and seeds:
        mean = sum(new[s].quality for s in seeds) / len(seeds)
        short = declaration.target - mean if declaration.higher_is_better else mean - declaration.target
        if short > 0:
            refusals.append(f"its mean {mean:.5g} misses the target {declaration.target:g}")
    return refusals


def _mean(values: list[float]) -> Figure | None:
    """Return the mean with its 90 % interval by Student's t; None below two values or where one is not finite."""
    n = len(values)
    if n < 2 or not all(map(isfinite, values)):
        return None
    mean = sum(values) / n
    arm = t95(n - 1) * sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
    return Figure(mean, mean - arm, mean + arm, Basis.MEASURED, source=f"{n} paired seeds")
