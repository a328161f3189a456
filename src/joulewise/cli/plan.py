"""`joulewise plan`: when, where and how flexible work should run; and, once the hours have passed, what that saved."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from joulewise.cli.output import echo, echo_json, json_option, local_time, plain, table
from joulewise.cli.reading import BYTES, WATTS, by_zone, quantity
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Checkpoint, Duration, Job, Objective, Pace, Place, Placement, Plan, Toll
from joulewise.vocabulary.moments import parse_moment
from joulewise.vocabulary.quantities import (
    ENERGY_UNITS,
    format_duration,
    format_si,
    parse_duration,
)

if TYPE_CHECKING:
    from joulewise.scheduling.plan import Grid

_WORDS = {
    Objective.CARBON: "carbon",
    Objective.COST: "cost",
    Objective.JOULES: "energy",
    Objective.WEIGHTED: "weighted carbon and cost",
}
_ALONE = (  # options that a file of jobs does not know, and what they are where nobody gave them
    ("like", "--like", None),
    ("caps", "--cap", ()),
    ("workers", "--workers", 1),
    ("data", "--data", "0B"),
    ("stay", "--stay", ()),
    ("show_front", "--front", False),
    ("chart", "--chart", False),
)
_BARS = "▁▂▃▄▅▆▇█"


@click.command("plan")
@click.option(
    "--deadline", metavar="TIME", help="By when it must be done: 'tomorrow 08:00', 18:00, +12h, ISO 8601."
)
@click.option("--duration", metavar="TIME", help="How long it runs: 6h, 1h30m.")
@click.option("--jobs", metavar="FILE", help="Plan many jobs: a CSV file with a row for each.")
@click.option(
    "--capacity",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --jobs: the units (machines, GPUs) that a zone has at any one time.",
)
@click.option(
    "--margin", default=0.0, metavar="SHARE", help="How much longer it may take: 0.5 for half as long again."
)
@click.option(
    "--like", metavar="NAME", help="Learn duration and power from finished runs whose name begins so."
)
@click.option("--start", "release", metavar="TIME", help="When it may begin at the earliest (default: now).")
@click.option("--interruptible", is_flag=True, help="It may be paused and go on.")
@click.option(
    "--pause-time", default="0s", metavar="TIME", help="Dead time at each resumption (Slurm requeue: 2min)."
)
@click.option(
    "--pause-energy", default="0J", metavar="ENERGY", help="Joules of saving and loading at each pause."
)
@click.option(
    "--power", metavar="WATTS", help="What it draws while it runs: 300W (default: from --like, else 300W)."
)
@click.option("--workers", default=1, metavar="N", help="It may run on 1 to N workers, each drawing --power.")
@click.option("--scaling", default=0.9, metavar="A", help="Speed of n workers is n to the power A.")
@click.option(
    "--cap", "caps", multiple=True, metavar="WATTS=SPEED", help="A power cap and its speed: 200W=0.9."
)
@click.option(
    "--zone", "zones", multiple=True, metavar="ZONE", help="Where it may run, home first; repeat for more."
)
@click.option("--data", default="0B", metavar="SIZE", help="What must be moved to run in another zone: 10GB.")
@click.option(
    "--stay", multiple=True, metavar="ZONE", help="Zones that the data may enter (default: all named)."
)
@click.option(
    "--history",
    "histories",
    multiple=True,
    metavar="[ZONE=]FILE",
    help="Measured intensities (CSV, Parquet).",
)
@click.option("--online", is_flag=True, help="Ask the grid's services (GB and Europe need no key).")
@click.option(
    "--objective",
    type=click.Choice([o.value for o in Objective]),
    default="carbon",
    help="What to make small.",
)
@click.option(
    "--carbon-weight", default=0.5, metavar="SHARE", help="Weight of carbon against cost when weighted."
)
@click.option(
    "--least-saving", default=0.0, metavar="SHARE", help="Run now unless this share is saved: 0.02."
)
@click.option("--front", "show_front", is_flag=True, help="Show the front between carbon, cost and joules.")
@click.option("--chart", is_flag=True, help="Draw the forecast with the hours chosen.")
@click.option("--save", metavar="FILE", help="Keep the plan, to be settled later.")
@click.option(
    "--settle", "settled", metavar="FILE", help="Say what a saved plan really saved (with --history)."
)
@click.option(
    "--marginal",
    "marginals",
    multiple=True,
    metavar="[ZONE=]FILE",
    help="With --settle: marginal intensities.",
)
@json_option
def command(**options: Any) -> int:
    """Say when, where and how work should run, what that saves, and the best that any plan could.

    Times without an offset are local; the answer gives local time and UTC. Without --history a zone's typical month or
    yearly mean is used, and said; only --online asks the network.
    """
    if options["settled"]:
        from joulewise.cli.plan_settling import settle_plan

        settle_plan(
            options["settled"], options["histories"], options["marginals"], as_json=options["as_json"]
        )
        return 0
    if options["jobs"]:
        return _plan_jobs(options)
    if options["capacity"]:
        raise UsageError("--capacity is for many jobs; name their file with --jobs")
    return _plan(options)


def _plan_jobs(options: dict[str, Any]) -> int:
    from joulewise import wiring
    from joulewise.cli.plan_jobs import Defaults, fleet_text, read_jobs
    from joulewise.scheduling.plan import Terms, plan
    from joulewise.scheduling.saved import plan_as_json

    used = [flag for name, flag, unset in _ALONE if options[name] != unset]
    if used:
        raise UsageError(f"{used[0]} is for one job; leave it out with --jobs")
    now = datetime.now(UTC)
    start = parse_moment(options["release"], now) if options["release"] else now
    zones = _zones(options)
    jobs = read_jobs(
        Path(options["jobs"]),
        Defaults(
            now,
            start,
            zones,
            _pause(options),
            options["duration"] or "",
            options["deadline"] or "",
            options["power"] or "300W",
            "yes" if options["interruptible"] else "no",
            options["margin"],
        ),
    )
    grid = wiring.planning_grid(
        zones,
        start,
        max(job.deadline_utc for job in jobs),
        by_zone(options["histories"], zones),
        online=options["online"],
        priced=options["objective"] in ("cost", "weighted"),
    )
    terms = Terms(Objective(options["objective"]), options["carbon_weight"], options["least_saving"])
    places = [Place(zone, options["capacity"]) for zone in zones]
    made = plan(jobs, grid, start, terms, places)
    _keep(made, options["save"])
    if options["as_json"]:
        echo_json({"plan": plan_as_json(made), "front": []})
    else:
        echo(fleet_text(made))
        _say_kept(options["save"])
    return 1 if made.unplaced else 0


def _plan(options: dict[str, Any]) -> int:
    from joulewise import wiring
    from joulewise.scheduling.plan import Terms, front, plan
    from joulewise.scheduling.saved import placement_as_json, plan_as_json

    now = datetime.now(UTC)
    job, release = _job(options, now)
    grid = wiring.planning_grid(
        job.zones,
        release,
        job.deadline_utc,
        by_zone(options["histories"], job.zones),
        online=options["online"],
        priced=options["objective"] in ("cost", "weighted"),
    )
    terms = Terms(Objective(options["objective"]), options["carbon_weight"], options["least_saving"])
    made = plan([job], grid, release, terms)
    kept = front(job, grid, release, terms) if options["show_front"] else ()
    _keep(made, options["save"])
    if options["as_json"]:
        echo_json({"plan": plan_as_json(made), "front": [placement_as_json(p) for p in kept]})
        return 0 if made.placements else 1
    for placed in made.placements:
        echo(_card(placed, made))
        if options["chart"]:
            echo(f"\n{forecast_chart(placed, grid)}")
    for left in made.unplaced:
        echo(f"{plain(left.job.name)} is left out: {left.reason}")
    if kept:
        echo(f"\n{_front(kept, made)}")
    _say_kept(options["save"])
    return 0 if made.placements else 1


def _keep(made: Plan, file: str | None) -> None:
    from joulewise.scheduling.saved import plan_as_json

    if file:
        text = json.dumps({"schema_version": 1, "plan": plan_as_json(made)}, indent=2)
        Path(file).write_text(text + "\n", encoding="utf-8")


def _say_kept(file: str | None) -> None:
    if file:
        echo(f"\nkept in {file}; joulewise plan --settle {file} --history FILE says what it saved")


def _zones(options: dict[str, Any]) -> tuple[str, ...]:
    from joulewise import wiring

    zones = tuple(options["zones"]) or tuple(filter(None, [wiring.settings().zone]))
    if not zones:
        raise UsageError("say where it runs, for instance --zone DE, or set a zone (joulewise config)")
    return zones


def _pause(options: dict[str, Any]) -> Checkpoint:
    return Checkpoint(
        parse_duration(options["pause_time"]),
        quantity(options["pause_energy"], ENERGY_UNITS, "--pause-energy"),
    )


def _job(options: dict[str, Any], now: datetime) -> tuple[Job, datetime]:
    if not options["deadline"]:
        raise UsageError("say by when it must be done, for instance --deadline 'tomorrow 08:00'")
    release = parse_moment(options["release"], now) if options["release"] else now
    deadline = parse_moment(options["deadline"], release if options["deadline"].startswith("+") else now)
    zones = _zones(options)
    learnt_s, learnt_w = _like(options["like"]) if options["like"] else ([], [])
    power_w = quantity(options["power"], WATTS, "--power") if options["power"] else None
    power_w = power_w or (sum(learnt_w) / len(learnt_w) if learnt_w else 300.0)
    if options["duration"]:
        duration = Duration.of(parse_duration(options["duration"]), options["margin"])
    else:
        duration = Duration.learnt(learnt_s, f"{len(learnt_s)} runs like {options['like']}")
    return (
        Job(
            options["like"] or "job",
            duration,
            release,
            deadline,
            _paces(options, power_w),
            _pause(options) if options["interruptible"] else None,
            zones,
            quantity(options["data"], BYTES, "--data"),
            tuple(options["stay"]),
        ),
        release,
    )


def _paces(options: dict[str, Any], power_w: float) -> tuple[Pace, ...]:
    from joulewise.scheduling.plan import paces_of_workers

    if options["workers"] < 1:
        raise UsageError(f"--workers is {options['workers']}, but must be at least 1")
    paces = list(paces_of_workers(power_w, options["workers"], options["scaling"]))
    for text in options["caps"]:
        watts, _, speed = text.partition("=")
        try:
            paces.append(Pace(f"capped at {watts}", float(speed), quantity(watts, WATTS, "--cap")))
        except ValueError:
            raise UsageError(
                f"cannot read --cap {text!r}; write watts and speed, for instance 200W=0.9"
            ) from None
    return tuple(paces)


def _like(name: str) -> tuple[list[float], list[float]]:
    """Return seconds and watts of the finished runs whose name begins so."""
    from joulewise import wiring
    from joulewise.vocabulary.recording import EndState

    seconds, watts = [], []
    for account in wiring.recordings(name, limit=50):
        recording = account.recording
        if recording.end.state is not EndState.FINISHED or recording.duration_s <= 0:
            continue
        seconds.append(recording.duration_s)
        if account.footprint.total_j is not None:
            watts.append(account.footprint.total_j.value / recording.duration_s)
    return seconds, watts


def _card(placed: Placement, made: Plan) -> str:
    toll, now = placed.predicted, placed.run_now
    lines = [f"{plain(placed.job.name)}: {placed.rung}, objective {made.objective}"]
    for stretch in placed.stretches:
        end = stretch.end_utc.astimezone()
        same = stretch.start_utc.astimezone().date() == end.date()
        until = f"{end:%H:%M}" if same else f"{end:%Y-%m-%d %H:%M}"
        lines.append(
            f"  {local_time(stretch.start_utc)} to {until}  {format_duration(stretch.duration_s):>7}  {stretch.pace}"
            f"  (UTC {stretch.start_utc:%H:%M} to {stretch.end_utc:%H:%M})"
        )
    lines += [
        "",
        table(
            [["this plan", *_columns(toll, made.currency)], ["run now", *_columns(now, made.currency)]],
            ("", "carbon", "energy", "cost", "delay"),
            right=(1, 2, 3, 4),
        ),
        "",
    ]
    share = placed.saving
    best = 1 - placed.bound / placed.value_now if placed.value_now > 0 else 0.0
    lines.append(
        f"saves {share:.1%} of the {_WORDS[made.objective]} of running now; the best any plan could on this forecast is {best:.1%} "
        f"(gap {placed.gap:.1%})"
    )
    if placed.energy_bought_j > 0:
        lines.append(f"buys it with {format_si(placed.energy_bought_j, 'J')} more than running now")
    if placed.risk:
        lines.append(f"risk: {placed.risk}")
    lines += [f"note: {plain(n, 300)}" for n in placed.notes]
    lines.append(f"grid: {plain(made.signals.get(placed.zone, ''), 300)}")
    return "\n".join(lines)


def _columns(toll: Toll, currency: str) -> list[str]:
    cost = "unknown" if toll.cost is None else f"{toll.cost:.3g} {currency}"
    return [
        format_si(toll.carbon_g, "g"),
        format_si(toll.energy_j, "J"),
        cost,
        _delay(toll.delay_s),
    ]


def _delay(seconds: float) -> str:
    if abs(seconds) < 1:
        return "none"
    return format_duration(seconds) if seconds > 0 else f"{format_duration(-seconds)} earlier"


def _front(kept: tuple[Placement, ...], made: Plan) -> str:
    rows = [[p.rung, local_time(p.start_utc), *_columns(p.predicted, made.currency)] for p in kept]
    return "The front: none of these is better in all of carbon, cost and joules.\n" + table(
        rows, ("how", "start", "carbon", "energy", "cost", "delay"), right=(2, 3, 4, 5)
    )


def forecast_chart(placed: Placement, grid: Grid) -> str:
    """Return the forecast over the window as bars, with the hours that are used marked below."""
    signal = grid.carbon[placed.zone].between(placed.job.release_utc, placed.job.deadline_utc)
    values = [v or 0.0 for v in signal.values]
    low, high = min(values), max(values)
    bars, marks = "", ""
    for when, value in zip(signal.times(), values, strict=True):
        bars += _BARS[round((value - low) / (high - low) * 7)] if high > low else _BARS[3]
        end = when.timestamp() + signal.step_s
        used = any(s.start_utc.timestamp() < end and s.end_utc > when for s in placed.stretches)
        marks += "^" if used else " "
    return f"{high:5.0f} g/kWh highest\n  {bars}\n  {marks.rstrip()}\n{low:5.0f} g/kWh lowest, {local_time(signal.start_utc)} on"
