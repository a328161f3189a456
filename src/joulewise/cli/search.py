"""`joulewise search`: the objective from a Python file, or an unedited program with its space in a TOML file."""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from joulewise import wiring
from joulewise.cli.output import columns, echo, echo_json, json_option, plain
from joulewise.vocabulary.budget import Budget, falls
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.moments import parse_moment

if TYPE_CHECKING:
    from joulewise.searching.fleet import Cluster
    from joulewise.searching.study import Study

_PLAN_TRIALS = 3
_OF_THE_FLEET = ("workers", "engine", "cpus", "gpus", "as_json", "quiet")  # not of one of its workers
_SHOW_EVERY_S, _PLAIN_EVERY_S = 0.5, 30.0


@click.command("search")
@click.argument("target", nargs=-1, metavar="(FILE.py:OBJECTIVE | --space SPACE.toml --metric NAME -- CMD)")
@click.option(
    "--budget", required=True, metavar="LIMITS", help="What the search may use: 2MJ,200g,1EUR,3h,50trials."
)
@click.option("--space", "space_name", default="space", metavar="NAME", show_default=True,
              help="The space's name in FILE.py; or a TOML file, for a program after --.")  # fmt: skip
@click.option("--metric", default="", metavar="NAME", help="What the program prints or logs once an epoch.")
@click.option("--epochs", default=27, show_default=True, help="Epochs of a full training.")
@click.option(
    "--minimise/--maximise",
    default=None,
    help="Smaller, or larger, values are better (a program's: by the metric's name).",
)
@click.option("--until", type=float, metavar="VALUE", help="End when a trial reaches this value.")
@click.option(
    "--tolerance", default=0.0, metavar="GAIN", help="End when the best is not expected to improve by more."
)
@click.option("--pareto", is_flag=True, help="Look for the front of values and joules of a full training.")
@click.option(
    "--plan",
    "only_plan",
    is_flag=True,
    help="Say what the search needs and costs, after three trials' first epochs.",
)
@click.option(
    "--difference", type=float, metavar="D", help="With --plan: settings closer than this are equal."
)
@click.option("--seed", default=0, show_default=True, help="Of the first points and candidates.")
@click.option("--name", default="", metavar="NAME", help="A study of this name goes on where it was.")
@click.option(
    "--shares", default="", metavar="SHARES",
    help="Train on shares of the data or width instead of epochs: 0.1,0.3,1; a program is told {share}.",
)  # fmt: skip
@click.option(
    "--past", default="", metavar="NAME", help="Begin with what a study of this name, or recorded runs, tell."
)
@click.option("--keep", type=int, metavar="N", help="Keep no more than N trials frozen in memory.")
@click.option(
    "--workers",
    default="1",
    metavar="N",
    show_default=True,
    help="Train N trials at once; auto: as many as the machine has room for.",
)
@click.option(
    "--store",
    default="",
    metavar="PLACE",
    help="A database that searches of the same name share: postgresql://USER@HOST/DATABASE.",
)
@click.option(
    "--on", "engine", default="", metavar="ENGINE",
    help="Run the workers as jobs: slurm, ray (RAY_ADDRESS is its dashboard), local.",
)  # fmt: skip
@click.option("--cpus", default=1, show_default=True, help="With --on: processors of a worker.")
@click.option("--gpus", default=0, show_default=True, help="With --on: GPUs of a worker.")
@click.option(
    "--deadline",
    default="",
    metavar="TIME",
    help="Rest in dirty hours, and end by then: 'tomorrow 08:00', +6h.",
)
@click.option("--zone", metavar="ZONE", help="Whose electricity it is (DE, US-CA), for a budget in grams.")
@click.option("--assume-high", is_flag=True, help="Count the high end of what is not known.")
@click.option(
    "--no-phases", is_flag=True, help="Take a program's metric from its output alone; nothing goes inside it."
)
@click.option("--quiet", is_flag=True, help="Show nothing before the end.")
@json_option
def command(
    target: tuple[str, ...],
    budget: str,
    space_name: str,
    metric: str,
    epochs: int,
    minimise: bool | None,
    until: float | None,
    tolerance: float,
    pareto: bool,
    only_plan: bool,
    difference: float | None,
    seed: int,
    name: str,
    shares: str,
    past: str,
    keep: int | None,
    workers: str,
    store: str,
    engine: str,
    cpus: int,
    gpus: int,
    deadline: str,
    zone: str | None,
    assume_high: bool,
    no_phases: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find good settings with few full trainings, within a budget.

    FILE.py is run; OBJECTIVE is a generator function in it, `space` a dict of Float, Int and Choice. Or any program, with
    no change to it: its parameters are added to its command line, its metric is read from what it prints or logs, or seen inside it.
    """
    if space_name.endswith(".toml"):
        objective, space = _program(
            target, space_name, metric, name, shares=bool(shares), phases=not no_phases
        )
        smaller = falls(metric) if minimise is None else minimise
        if smaller is None:
            raise UsageError(
                f"the name {metric!r} does not tell whether smaller is better; say --minimise or --maximise"
            )
    else:
        objective, space = _objective(target, space_name)
        smaller = bool(minimise)
    study = wiring.search(
        objective,
        space,
        budget,
        epochs=epochs,
        minimise=smaller,
        target=until,
        seed=seed,
        name=name,
        keep=keep,
        shares=_shares(shares),
        past=past,
        metric=metric,
        tolerance=tolerance,
        pareto=pareto,
        workers=1 if only_plan else _workers(workers),
        store=store,
        cluster=_cluster(engine, target, cpus, gpus) if engine and not only_plan else None,
        deadline=parse_moment(deadline, datetime.now(UTC)) if deadline else None,
        zone=zone,
        assume_high=assume_high,
        shown=None if quiet else _shown(budget),
        stopped=_planned if only_plan else None,
    )
    if only_plan:
        _tell_plan(study, budget, difference, as_json=as_json)
        return
    if as_json:
        echo_json(fields(study))
        return
    for line in study.report().splitlines():
        echo(plain(line, 1000))
    echo(f"journal: {plain(study.where)}")


def _planned(study: Study) -> str:
    """Return why a search that only plans ends: enough is known of what an epoch costs."""
    known = sum(t.epoch > 0 for t in study.trials)
    return f"{known} trials tell what an epoch costs" if known >= _PLAN_TRIALS else ""


def _tell_plan(study: Study, budget: str, difference: float | None, *, as_json: bool) -> None:
    from joulewise.searching.planning import plan_search

    limits = Budget.parse(budget, wiring.settings().currency)
    plan = plan_search(study.rules, study.trials, limits.trials, difference)
    if as_json:
        echo_json(asdict(plan))
        return
    for line in plan.lines(limits):
        echo(line)


def fields(study: Study) -> dict[str, Any]:
    """Return a study as JSON values."""
    from joulewise.searching.importance import importance

    best = study.best
    matters = importance(study.space, study.trials, study.rules.epochs)
    return {
        "name": study.name,
        "best": None
        if best is None
        else {"trial": best.number, "value": study.best_value, "params": study.best_params},
        "front": [{"training": e, "value": v, "trial": n} for e, v, n in study.front]
        if study.rules.pareto
        else None,
        "reason": study.reason,
        "spent": study.spent,
        "counted_in": study.rules.unit,
        "in_full": study.in_full,
        "deciding_cpu_s": study.deciding_s,
        "importance": {"value": dict(matters.value), "cost": dict(matters.cost)} if matters else None,
        "trials": [
            {
                "trial": t.number,
                "params": study.space.configuration(t.point),
                "values": [-v if study.rules.minimise else v for v in t.values],
                "costs": list(t.costs_j),
                "state": t.state.value,
                "why": t.why,
            }
            for t in study.trials
        ],
        "journal": study.where,
    }


def _objective(target: tuple[str, ...], space_name: str) -> tuple[Any, Any]:
    """Return objective and space of FILE.py:OBJECTIVE."""
    file, colon, objective_name = target[0].rpartition(":") if len(target) == 1 else ("", "", "")
    if not colon or not file:
        given = " ".join(target)
        raise UsageError(
            f"the objective is {given!r}, but must be FILE.py:OBJECTIVE, for instance train.py:objective; "
            "for a program give its space: --space space.toml --metric NAME -- CMD"
        )
    found = _load(file)
    return _named(found, "objective", objective_name, file), _named(found, "space", space_name, file)


def _program(
    target: tuple[str, ...], space_file: str, metric: str, name: str, *, shares: bool, phases: bool
) -> tuple[Any, Any]:
    """Return objective and space of an unedited program."""
    if not metric:
        raise UsageError(
            "which value is to be searched for? give the metric that the program prints: --metric NAME"
        )
    with wiring.needs_search():
        from joulewise.searching.script import Script, SharedScript
        from joulewise.searching.space_file import read_space

    space = read_space(Path(space_file))
    if shares:
        return SharedScript(target, metric, space, phases=phases), space
    return Script(target, metric, space, wiring.checkpoints(name), phases=phases), space


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(
            f"shares are {text!r}, but must be numbers that grow to 1, for instance 0.1,0.3,1"
        ) from None


def _workers(text: str) -> int:
    """Return how many workers: 0 for as many as the machine has room for."""
    if text == "auto":
        return 0
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"workers is {text!r}, but must be a whole number from 1, or auto")
    return int(text)


def _cluster(engine: str, target: tuple[str, ...], cpus: int, gpus: int) -> Cluster:
    """Return the cluster on which this same command, with one worker, runs as jobs."""
    from joulewise.launching.port import Resources

    with wiring.needs_search():
        from joulewise.searching.fleet import Cluster
    words = [sys.executable, "-m", "joulewise", "search", "--quiet"]
    context = click.get_current_context()
    for option in context.command.params:
        value = context.params[str(option.name)]
        if not isinstance(option, click.Option) or option.name in _OF_THE_FLEET:
            continue
        if value is None or value == option.get_default(context):
            continue
        if isinstance(value, bool):
            words.append((option.opts if value else option.secondary_opts)[0])
        else:
            words += [option.opts[0], str(value)]
    return Cluster(engine, (*words, "--", *target), Resources(cpus=cpus, gpus=gpus))


def _shown(budget: str) -> Callable[[Study], None]:
    """Return what shows a study as it goes on: a line that is written over, or on no terminal one now and then."""
    from joulewise.searching.progress import status

    limits = Budget.parse(budget, wiring.settings().currency)
    terminal = sys.stderr.isatty()
    every_s = _SHOW_EVERY_S if terminal else _PLAIN_EVERY_S
    next_s = time.monotonic() + every_s

    def shown(study: Study) -> None:
        nonlocal next_s
        if (now_s := time.monotonic()) < next_s:
            return
        next_s = now_s + every_s
        text = status(study, limits)
        if terminal:
            click.echo(f"\r{text[: columns() - 1]}\x1b[K", nl=False, err=True)
        else:
            click.echo(f"joulewise: {text}", err=True)

    return shown


def _load(file: str) -> dict[str, Any]:
    """Return the names of a Python file, run as an import would: beside it lies what it imports."""
    if not os.path.isfile(file):
        raise UsageError(f"there is no file {file!r}; the objective is given as FILE.py:OBJECTIVE")
    sys.path.insert(0, os.path.dirname(os.path.abspath(file)))
    try:
        return runpy.run_path(file, run_name="joulewise_objective")
    except ModuleNotFoundError as missing:
        ours = missing.name in ("numpy", "threadpoolctl")
        remedy = "; pip install 'joulewise[search]'" if ours else ""
        raise UsageError(f"{file} needs {missing.name}, which is not installed{remedy}") from None
    except SyntaxError as error:
        raise UsageError(f"cannot read {file}: {error}") from None


def _named(found: dict[str, Any], what: str, name: str, file: str) -> Any:
    if name not in found:
        known = [n for n in found if not n.startswith("_")]
        raise UnknownName(what, name, known, f"in {file}")
    return found[name]
