"""`joulewise gate RUN --baseline NAME`: exit code 0 passes, 4 fails, 5 cannot tell."""

from __future__ import annotations

from typing import Any

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, figure_fields, json_option, plain, write_text
from joulewise.diagnosing.gating import MOST_REPEATS, Decision, Gate, Measure, gate
from joulewise.diagnosing.quality import Quality, quality
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.observed import observe
from joulewise.vocabulary.quantities import parse_share

EXIT_CODES = {Decision.PASS: 0, Decision.FAIL: 4, Decision.CANNOT_TELL: 5}
_MARKS = {Decision.PASS: "✅ pass", Decision.FAIL: "❌ fail", Decision.CANNOT_TELL: "❔ cannot tell"}
_WHAT = {Measure.ENERGY: "energy", Measure.CPU_TIME: "CPU time"}


@click.command("gate")
@click.argument("runs", metavar="RUN...", nargs=-1)
@click.option(
    "--baseline", "baselines", multiple=True, required=True, metavar="RUN",
    help="What to hold against; a name means all its finished recordings. May be given several times.",
)  # fmt: skip
@click.option(
    "--max-increase",
    metavar="PERCENT",
    default="10%",
    show_default=True,
    help="What is still allowed; may be negative.",
)
@click.option(
    "--measure", type=click.Choice([m.value for m in Measure]), default=Measure.ENERGY.value, show_default=True,
    help="Joules at the wall, or CPU seconds where joules do not compare.",
)  # fmt: skip
@click.option("--require-quality", is_flag=True, help="Without a quality metric in every run: cannot tell.")
@click.option("--markdown", metavar="FILE", help="Write a comment for a pull request; - prints it.")
@json_option
def command(
    runs: tuple[str, ...],
    baselines: tuple[str, ...],
    max_increase: str,
    measure: str,
    require_quality: bool,
    markdown: str | None,
    as_json: bool,
) -> int:
    """Pass or fail a change by what a unit of work costs, at equal quality.

    RUN and the baseline are ids, names or folders; a name means all its finished recordings (the latest 20), as repeats.
    The noise is measured on the repeats: where they do not decide, the answer is "cannot tell" and how many would.
    Exit code 0 passes, 4 fails, 5 cannot tell.
    """
    if not runs:
        raise UsageError("gate needs a RUN to judge: joulewise gate RUN --baseline NAME")
    limit = 1 + parse_share(max_increase, "--max-increase")
    sides = [_accounts(names) for names in (baselines, runs)]
    shared = {a.recording.run_id for a in sides[0]} & {a.recording.run_id for a in sides[1]}
    if shared:
        raise UsageError(f"{shared.pop()} is on both sides, but a run cannot be held against itself")
    found = gate(
        sides[0],
        sides[1],
        (_qualities(sides[0]), _qualities(sides[1])),
        limit=limit,
        measure=Measure(measure),
        require_quality=require_quality,
    )
    if markdown is not None:
        write_text("--markdown", markdown, comment(found, sides[0], sides[1]))
    if as_json:
        echo_json(gate_fields(found))
    elif markdown != "-":
        echo("\n".join(_lines(found)))
    return EXIT_CODES[found.decision]


def _accounts(names: tuple[str, ...]) -> list[Account]:
    found = {r.run_id: r for name in names for r in wiring.repeats(name)}
    return [wiring.account(recording) for recording in found.values()]


def _qualities(accounts: list[Account]) -> list[Quality | None]:
    return [quality(observe(a.recording), [p.values for p in a.recording.points]) for a in accounts]


def _lines(found: Gate) -> list[str]:
    lines = [f"{found.decision.value}: {plain(found.reason, 300)}", f"  change   {_change(found)}"]
    lines.append(f"  noise    {_noise(found)}")
    same = {True: ": equal within the noise", False: ": lower than before", None: ""}[found.equal_quality]
    lines.append(f"  quality  {plain(found.quality, 200)}{same}")
    return lines


def _change(found: Gate) -> str:
    if found.ratio is None:
        return "unknown"
    low, value, high = (100 * (v - 1) for v in (found.ratio.low, found.ratio.value, found.ratio.high))
    return (
        f"{value:+.1f} % {_WHAT[found.measure]} per {plain(found.per, 20)} ({low:+.1f} % to {high:+.1f} %); "
        f"allowed {100 * (found.limit - 1):+.3g} %"
    )


def _noise(found: Gate) -> str:
    ones, others = found.runs
    sides = f"{ones} baseline, {others} candidate"
    if found.noise is None:
        return f"not known ({sides})"
    text = f"±{100 * found.noise:.1f} % from the repeats ({sides})"
    if found.decision is Decision.CANNOT_TELL and found.ratio is not None:
        if found.repeats is None:
            return f"{text}; no number of repeats up to {MOST_REPEATS} a side would decide it"
        return f"{text}; about {found.repeats} runs a side would decide it"
    return text


def comment(found: Gate, before: list[Account], after: list[Account]) -> str:
    """Return the decision as a comment for a pull request, in Markdown."""
    names = [_cell(side[0].recording.name) for side in (before, after)]
    rows = [
        ("change", _change(found)),
        ("noise", _noise(found)),
        ("quality", _cell(found.quality)),
        ("baseline", f"{names[0]}, {len(before)} run{'s' * (len(before) > 1)}"),
        ("candidate", f"{names[1]}, {len(after)} run{'s' * (len(after) > 1)}"),
    ]
    table = "\n".join(f"| {name} | {text} |" for name, text in rows)
    return f"**joulewise gate: {_MARKS[found.decision]}** – {_cell(found.reason)}\n\n| | |\n| --- | --- |\n{table}\n"


def _cell(text: str) -> str:
    """Return text that is no mark-up in a cell of a Markdown table: names come from whoever made the recording."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#!|~@" else c for c in plain(text, 200))


def gate_fields(found: Gate) -> dict[str, Any]:
    """Return a gate as JSON fields."""
    return {
        "decision": found.decision.value,
        "exit_code": EXIT_CODES[found.decision],
        "reason": found.reason,
        "measure": found.measure.value,
        "per": found.per,
        "ratio": figure_fields(found.ratio),
        "limit": found.limit,
        "noise": found.noise,
        "runs": {"baseline": found.runs[0], "candidate": found.runs[1]},
        "repeats_that_would_decide": found.repeats,
        "equal_quality": found.equal_quality,
        "quality": found.quality,
    }
