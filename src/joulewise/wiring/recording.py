"""Recording: the recorder of a process tree, the Python face, budgets, a serving period, notebooks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulewise.ledger.files import new_run_id, run_folder
from joulewise.settings import Settings
from joulewise.vocabulary.clock import SystemClock
from joulewise.wiring.chosen import settings
from joulewise.wiring.grid import place
from joulewise.wiring.ledger import account
from joulewise.wiring.meters import survey

if TYPE_CHECKING:
    from joulewise.measuring.recorder import Recorder
    from joulewise.measuring.track import Run, Track
    from joulewise.measuring.watching import Watch
    from joulewise.vocabulary.budget import Budget, Verdict


INSIDE = "JOULEWISE_RECORDING"  # in the environment of recorded work: the folder of its recording


def recorder(
    root_pid: int,
    name: str,
    command: Sequence[str] = (),
    *,
    role: str = "run",
    interval_s: float | None = None,
    params: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    keep: bool = True,
    started_s: float | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Recorder:
    """Return a recorder for a process tree, not yet started; with `keep` False it writes to memory only."""
    from joulewise.measuring.machine import machine
    from joulewise.measuring.metadata import describe, person, redacted
    from joulewise.measuring.recorder import Recorder, Work

    chosen = settings(flags)
    run_id = run_id or new_run_id(name, SystemClock().now_utc())
    folder = run_folder(Path(chosen.runs), run_id) if keep and chosen.runs else None
    cwd, environment = _surroundings(root_pid) if role == "attach" else (_cwd(), dict(os.environ))
    inside = environment.get(INSIDE, "")

    def facts() -> dict[str, Any]:
        told = describe(command, cwd, environment)
        if inside and os.path.basename(inside) != run_id:  # a fleet's task is told its own
            told["inside_run"] = os.path.basename(inside)
        told.update(_whereabouts(chosen))
        told["person"] = chosen.person or person(root_pid)
        if chosen.project:
            told["project"] = chosen.project
        return told

    return Recorder(
        Work(
            name,
            root_pid,
            role,
            tuple(redacted(command)),
            params,
            str(folder) if role == "run" and folder else "",
        ),
        folder,
        run_id,
        survey=lambda: (found for _name, found in survey(chosen, root_pid)),
        machine=lambda: machine(pid=root_pid),
        describe=facts,
        interval_s=interval_s or chosen.interval_s,
        started_s=started_s,
    )


def _whereabouts(chosen: Settings) -> dict[str, Any]:
    """Return zone and cloud as they are now: asked of the metadata service only for the zone `auto`."""
    if chosen.zone != "auto":
        return {"zone": chosen.zone} if chosen.zone else {}
    from joulewise.catalogue.cloud import ask_cloud

    cloud = ask_cloud()
    told = {
        "zone": cloud.zone or "unknown",
        "cloud": cloud.provider,
        "region": cloud.region,
        "instance": cloud.instance_type,
        "zone_unknown": cloud.why,
    }
    return {key: value for key, value in told.items() if value}


def _surroundings(pid: int) -> tuple[str, dict[str, str]]:
    """Return folder and environment of another process; empty where they cannot be read."""
    from joulewise.measuring.process_tree import read_small

    entries = read_small(f"/proc/{pid}/environ").decode("utf-8", "replace").split("\0")
    environment = {name: value for name, equals, value in (e.partition("=") for e in entries) if equals}
    try:
        return os.readlink(f"/proc/{pid}/cwd"), environment
    except OSError:
        return "", environment


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:  # the current folder was deleted
        return ""


def watch(limits: Budget, zone: str | None = None) -> Watch:
    """Return a watch that holds a budget against a recording at this place."""
    from joulewise.measuring.watching import Watch

    return Watch(limits, place(zone=zone))


def track(
    name: str | None = None,
    *,
    budget: Budget | str | None = None,
    interval_s: float | None = None,
    zone: str | None = None,
    assume_high: bool = False,
    **params: Any,
) -> Track:
    """Record a stretch of this program: `with joulewise.track("name") as run:` or `@joulewise.track()`.

    Other keywords are parameters of the work (`dataset_size=60000`). `budget` is `"2MJ,3h"` or a `Budget`; at a
    hard limit `BudgetExceeded` is raised at the next `run.log` or `run.span`. Inside `joulewise run` without a
    budget, spans and points join that recording; with one, this stretch is recorded by itself, too.
    """
    from joulewise.measuring.track import Joined, Run, Track

    folder = os.environ.get(INSIDE, "")
    limits = parsed_budget(budget, zone, assume_high)

    def open_run(function: str | None) -> Run:
        title = name or function or os.path.basename(sys.argv[0] or "python")
        if folder and limits is None and os.path.isdir(folder):
            joined = Joined(Path(folder))
            if params:
                joined.append("params", params=params)
            return Run(joined.append, None, _no_verdict)
        own = recorder(
            os.getpid(),
            title,
            sys.orig_argv,
            role="track",
            interval_s=interval_s,
            params=params,
            flags={"zone": zone},
        )
        own.start()
        return Run(own.append, own, _judge(own, limits, zone))

    return Track(open_run)


def parsed_budget(budget: Budget | str | None, zone: str | None, assume_high: bool) -> Budget | None:
    """Return a budget, read where it is text, once it is sure that it can be counted in this zone."""
    if budget is None:
        return None
    from joulewise.vocabulary.budget import Budget

    chosen = settings({"zone": zone})
    limits = Budget.parse(budget, chosen.currency) if isinstance(budget, str) else budget
    limits.check(zone_known=bool(chosen.zone), tariff_known=bool(chosen.tariff), assume_high=assume_high)
    return limits


def _judge(own: Recorder, limits: Budget | None, zone: str | None) -> Callable[[], Verdict | None]:
    """Return what `track` asks at its safe points; a warning is noted in the recording and logged."""
    if limits is None:
        return _no_verdict
    held = watch(limits, zone)

    def look() -> Verdict:
        verdict = held.look(own.latest, own.now_s())
        if verdict.warns:
            import logging

            own.note("budget", verdict.reason)
            logging.getLogger("joulewise").warning("%s", verdict.reason)
        return verdict

    return look


def _no_verdict() -> None:
    return None


def serving_period(name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Begin to record a serving period of this process: returns the rate of its joules, and what is told of the service.

    For servers that are not ours (`serving.ray_serve.application(..., begin=wiring.serving_period)`).
    """
    from functools import partial

    from joulewise.serving.running import RateOf, keep_notes

    own = recorder(os.getpid(), f"serve-{name}", sys.orig_argv, role="serve", params={"model": name})
    own.start()
    return RateOf(own, place()), partial(keep_notes, recorder=own)


def report(run: Run) -> str:
    """Return what a finished run of the Python face cost, in one line (for notebooks)."""
    from joulewise.vocabulary.quantities import format_duration, format_figure

    if run.recording is None:
        return "joulewise: part of the recording around it"
    cost = account(run.recording).footprint
    parts = [format_duration(run.recording.duration_s)]
    if cost.total_j is not None:
        parts.append(f"{format_figure(cost.total_j, 'J')} {cost.total_j.basis.word}")
    if cost.carbon_g is not None:
        parts.append(f"{format_figure(cost.carbon_g, 'g')} CO2e")
    if cost.cost is not None:
        parts.append(f"{format_figure(cost.cost, cost.currency)}")
    return f"joulewise: {' · '.join(parts)}"


def chart(run: Run) -> str:
    """Return a small picture of a finished run's power as SVG, "" where too little was seen of it (for notebooks)."""
    from joulewise.measuring.sparkline import sparkline

    if run.recording is None:
        return ""
    series = account(run.recording).power_series
    return sparkline(series.t_s, series.work_watts)


def load_ipython_extension(shell: Any) -> None:
    """Register `%%joulewise` with a notebook's shell."""
    from joulewise.measuring.magic import register

    register(shell, track, report, chart)
