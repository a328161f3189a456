"""`joulewise search FILE.py:OBJECTIVE --budget 2MJ`: the objective and its space from a Python file."""

from __future__ import annotations

import os
import runpy
import sys
from typing import TYPE_CHECKING, Any

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, json_option, plain
from joulewise.vocabulary.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from joulewise.searching.study import Study


@click.command("search")
@click.argument("target", metavar="FILE.py:OBJECTIVE")
@click.option(
    "--budget", required=True, metavar="LIMITS", help="What the search may use: 2MJ,200g,1EUR,3h,50trials."
)
@click.option(
    "--space",
    "space_name",
    default="space",
    metavar="NAME",
    show_default=True,
    help="The space's name in FILE.py.",
)
@click.option("--epochs", default=27, show_default=True, help="Epochs of a full training.")
@click.option("--minimise", is_flag=True, help="Smaller values are better.")
@click.option("--until", type=float, metavar="VALUE", help="End when a trial reaches this value.")
@click.option("--seed", default=0, show_default=True, help="Of the first points and candidates.")
@click.option("--name", default="", metavar="NAME", help="A study of this name goes on where it was.")
@click.option("--keep", type=int, metavar="N", help="Keep no more than N trials frozen in memory.")
@click.option("--zone", metavar="ZONE", help="Whose electricity it is (DE, US-CA), for a budget in grams.")
@click.option("--assume-high", is_flag=True, help="Count the high end of what is not known.")
@json_option
def command(
    target: str,
    budget: str,
    space_name: str,
    epochs: int,
    minimise: bool,
    until: float | None,
    seed: int,
    name: str,
    keep: int | None,
    zone: str | None,
    assume_high: bool,
    as_json: bool,
) -> None:
    """Find good settings of OBJECTIVE in FILE.py with few full trainings, within a budget.

    FILE.py is run; OBJECTIVE is a generator function in it, `space` a dict of Float, Int and Choice.
    """
    file, colon, objective_name = target.rpartition(":")
    if not colon or not file:
        raise UsageError(
            f"the objective is {target!r}, but must be FILE.py:OBJECTIVE, for instance train.py:objective"
        )
    found = _load(file)
    study = wiring.search(
        _named(found, "objective", objective_name, file),
        _named(found, "space", space_name, file),
        budget,
        epochs=epochs,
        minimise=minimise,
        target=until,
        seed=seed,
        name=name,
        keep=keep,
        zone=zone,
        assume_high=assume_high,
    )
    if as_json:
        echo_json(fields(study))
        return
    for line in study.report().splitlines():
        echo(plain(line, 1000))
    if study.path:
        echo(f"journal: {plain(study.path)}")


def fields(study: Study) -> dict[str, Any]:
    """Return a study as JSON values."""
    best = study.best
    return {
        "name": study.name,
        "best": None
        if best is None
        else {"trial": best.number, "value": study.best_value, "params": study.best_params},
        "reason": study.reason,
        "spent": study.spent,
        "counted_in": study.rules.unit,
        "in_full": study.in_full,
        "deciding_cpu_s": study.deciding_s,
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
        "journal": str(study.path) if study.path else None,
    }


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
