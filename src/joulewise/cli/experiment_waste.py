"""An experiment looked over as a whole: which share of its joules bought nothing (`joulewise diagnose --experiment`)."""

from __future__ import annotations

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, plain
from joulewise.diagnosing.experiment import Experiment, Worth, ended_runs, look_over
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.observed import observe
from joulewise.vocabulary.quantities import format_si

_MOST_RUNS = 1000


def show(name: str, *, as_json: bool) -> None:
    """Print what became of the joules of all runs whose name begins so; raises UsageError where none has ended."""
    accounts = wiring.recordings(name, limit=_MOST_RUNS)
    runs = ended_runs([(a, observe(a.recording)) for a in accounts])
    if not runs:
        raise UsageError(f"no ended run has a name that begins with {name!r}; 'joulewise runs' lists them")
    seen = look_over(runs)
    if as_json:
        echo_json(
            {
                "experiment": name,
                "runs": seen.runs,
                "energy_j": seen.total_j,
                "bought_nothing_j": seen.wasted_j,
                "carbon_g": seen.total.carbon_g,
                "bought_nothing_g": seen.wasted.carbon_g,
                "cost": seen.total.cost,
                "bought_nothing_cost": seen.wasted.cost,
                "currency": seen.total.currency or None,
                "repeated": [list(r) for r in seen.repeated],
                "failed": list(seen.failed),
                "dominated": list(seen.dominated),
                "unrated": seen.unrated,
                "front": [
                    {"run_id": p.run_id, "quality": p.quality, "energy_j": p.energy_j} for p in seen.front
                ],
            }
        )
        return
    echo("\n".join(_lines(name, seen)))


def _lines(name: str, seen: Experiment) -> list[str]:
    share = seen.wasted_j / seen.total_j if seen.total_j > 0 else 0.0
    lines = [
        f"{plain(name, 60)} · {seen.runs} runs · {_worth(seen.total)} · {100 * share:.0f} % of it bought nothing",
        *([f"  wasted    {_worth(seen.wasted)}"] if seen.wasted_j else []),
        f"  repeated  {len(seen.repeated)} runs of the same code, arguments, data and seeds: {format_si(seen.repeated_j, 'J')}",
        f"  failed    {len(seen.failed)} runs: {format_si(seen.failed_j, 'J')}",
        (
            f"  dominated {len(seen.dominated)} runs were no better than a cheaper one (known only afterwards): "
            f"{format_si(seen.dominated_j, 'J')}"
        ),
    ]
    if seen.unrated:
        lines.append(f"  unrated   {seen.unrated} runs told no {seen.metric or 'quality'}")
    if seen.front:
        lines.append(f"  the front of {seen.metric} and energy:")
        lines += [
            f"    {format_si(p.energy_j, 'J'):>10}  {p.quality:.4g}  {plain(p.run_id, 60)}"
            for p in seen.front
        ]
    return lines


def _worth(worth: Worth) -> str:
    """Return joules, grams and money; grams and money only where they are known of every run."""
    amounts = [format_si(worth.energy_j, "J")]
    amounts += [] if worth.carbon_g is None else [format_si(worth.carbon_g, "g")]
    amounts += [] if worth.cost is None or not worth.currency else [f"{worth.cost:.2g} {worth.currency}"]
    return " · ".join(amounts)
