"""Searching: a study's space, budget, meters, log and workers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulewise.ledger.files import new_run_id
from joulewise.vocabulary.clock import SystemClock
from joulewise.vocabulary.errors import LedgerError, UnknownName, UsageError
from joulewise.wiring.chosen import settings
from joulewise.wiring.grid import place, planning_grid
from joulewise.wiring.ledger import recordings
from joulewise.wiring.queue import engine, jobs_folder
from joulewise.wiring.recording import parsed_budget, recorder

if TYPE_CHECKING:
    from datetime import datetime

    from joulewise.launching.port import Engine
    from joulewise.measuring.recorder import Recorder
    from joulewise.searching.fleet import Cluster
    from joulewise.searching.hours import Hours
    from joulewise.searching.log import Log
    from joulewise.searching.optuna_plug import OptunaPlug
    from joulewise.searching.ordering import Equipment
    from joulewise.searching.ordering import Order as StudyOrder
    from joulewise.searching.past import Past
    from joulewise.searching.space import Parameter, Space
    from joulewise.searching.study import Study
    from joulewise.vocabulary.budget import Budget, Spent


def search(
    objective: Callable[[Any], Any],
    space: Space | Mapping[str, Parameter],
    budget: Budget | str,
    *,
    epochs: int = 27,
    minimise: bool = False,
    target: float | None = None,
    seed: int = 0,
    name: str = "",
    keep: int | None = None,
    tolerance: float = 0.0,
    pareto: bool = False,
    shares: Sequence[float] = (),
    past: str = "",
    metric: str = "",
    deadline: datetime | None = None,
    workers: int = 1,
    store: str = "",
    cluster: Cluster | None = None,
    zone: str | None = None,
    assume_high: bool = False,
    shown: Callable[[Study], None] | None = None,
    stopped: Callable[[Study], str] | None = None,
) -> Study:
    """Return the study of a search of `space` for the best settings of `objective` within `budget` ("2MJ,3h,50trials").

    `objective(trial)` yields a value an epoch, for `epochs` epochs; the search ends, too, when the best reaches `target` or
    is not expected to improve by more than `tolerance`. With `pareto` it looks for the front of
    values and joules of a full training, `study.front`. With `shares` (0.1, 0.3, 1) each epoch is a
    training of its own on `trial.share` of the data or of the width, whose value the objective returns. `past` names an earlier study, or runs that were recorded with these
    parameters and the `metric`: the search begins with what they tell, and runs none of them again. With a `deadline` it rests in dirty hours of the zone, and ends by then. With several `workers` (0: as many as this machine
    has room for), each is a process of its own. The search is recorded, a run a worker. With a `name`, a study of that name
    goes on where it was; with a `store` (`postgresql://USER@HOST/DATABASE`, or the path of an SQLite file), processes
    on other hosts that give both share its trials and its budget. With a `cluster` the workers are jobs there, which run
    the cluster's command. Needs the extra `search`.
    """
    with needs_search():
        from joulewise.searching import ordering
        from joulewise.searching import space as spaces
    from joulewise.measuring.machine import machine

    room = space if isinstance(space, spaces.Space) else spaces.Space(space)
    limits = parsed_budget(budget, zone, assume_high)
    assert limits is not None  # noqa: S101 - for the type checker: a budget was given
    if assume_high:
        limits = replace(limits, assume_high=True)
    title = name or getattr(objective, "__name__", type(objective).__name__)
    order = ordering.ordered(
        objective, room, limits, epochs, minimise=minimise, target=target, seed=seed, name=title, keep=keep,
        tolerance=tolerance, pareto=pareto, past=_past(past, metric) if past else (), shares=shares,
    )  # fmt: skip
    if deadline is not None:
        order = replace(order, hours=_clean_hours(deadline, zone))
    here = machine(pid=os.getpid())
    cpus = here.owned_cpus or here.cpus or 1.0
    opened = _study_log(name, title, store)
    if cluster is not None:
        if not store:
            raise UsageError(
                "workers on a cluster share a study in a database; name it: --store postgresql://USER@HOST/joulewise"
            )
        return _fleet(order, cluster, workers, title, zone, opened, shown)
    return ordering.carry_out(order, workers, cpus, _equipment(title, zone), opened, shown, stopped)


@contextmanager
def optuna_plug(
    *,
    epochs: int = 27,
    budget: Budget | str | None = None,
    seed: int = 0,
    name: str = "optuna",
    zone: str | None = None,
    assume_high: bool = False,
) -> Iterator[OptunaPlug]:
    """Return a context with what freezes and thaws the trials of an Optuna study by gain per joule, metered here.

    `plug.sampler`, `plug.pruner` and `plug.callback` go to Optuna; the study is recorded as a run. Needs the extra
    `search` and Optuna.
    """
    with needs_search():
        from joulewise.searching.optuna_plug import OptunaPlug
    limits = parsed_budget(budget, zone, assume_high)
    with _equipment(name, zone)(True) as own:
        yield OptunaPlug(epochs=epochs, measure=own.measure, budget=limits, seed=seed)


def metered(name: str, zone: str | None = None) -> AbstractContextManager[Equipment]:
    """Return a context that records this process under a name and gives what it has used so far."""
    return _equipment(name, zone)(True)


def _fleet(
    order: StudyOrder,
    cluster: Cluster,
    workers: int,
    title: str,
    zone: str | None,
    opened: Callable[[], Log],
    shown: Callable[[Study], None] | None,
) -> Study:
    """Return the study that jobs of a cluster search; it counts in what is counted here."""
    from joulewise.searching.fleet import Fleet

    with _equipment(title, zone)(False) as own:
        order = order.with_unit(own.measure)
    return Fleet(
        _search_engine(cluster.engine),
        cluster,
        max(1, workers),
        lambda: order.open(opened()),
    ).go(shown)


def _search_engine(name: str) -> Engine:
    if name == "slurm":
        from joulewise.launching.slurm import Slurm

        return Slurm(jobs_folder())
    if name == "ray":
        from joulewise.launching.ray import Ray

        address = os.environ.get("RAY_ADDRESS", "")
        if not address.startswith(("http://", "https://")):
            raise UsageError(
                f"RAY_ADDRESS is {address!r}, but must be the URL of Ray's dashboard, for instance http://head:8265"
            )
        return Ray(jobs_folder(), address)
    if name != "local":
        raise UnknownName("engine", name, ("slurm", "ray", "local"), "(known are slurm, ray and local)")
    return engine(name)


@contextmanager
def needs_search() -> Iterator[None]:
    """Return a context for imports of the room of searching: says which extra is missing."""
    try:
        yield
    except ModuleNotFoundError as missing:
        raise UsageError(
            f"a search needs {missing.name}, which is not installed; pip install 'joulewise[search]'"
        ) from None


def checkpoints(name: str) -> Path | None:
    """Return the folder for checkpoints of the study `name` ("": one of this moment); None if there is no place."""
    from joulewise.searching.journal import safe_name

    folder = settings().runs
    title = safe_name(name) if name else new_run_id("search", SystemClock().now_utc())
    return Path(folder).parent / "studies" / f"{title}.checkpoints" if folder else None


def _clean_hours(deadline: datetime, zone: str | None) -> Hours:
    """Return when a search may work before its deadline, by the grid of the place."""
    from joulewise.searching.hours import Hours

    here = place(zone=zone).zone
    if here is None:
        raise UsageError(
            "a search that rests in dirty hours needs a zone: give --zone DE, or set one in the settings"
        )
    clock = SystemClock()
    if deadline <= clock.now_utc():
        raise UsageError(f"the deadline {deadline:%Y-%m-%d %H:%M} UTC has passed")
    return Hours(
        deadline, here.code, lambda start, end: planning_grid((here.code,), start, end, {}), clock.now_utc
    )


def _past(name: str, metric: str) -> list[Past]:
    """Return what an earlier study of this name tried, else what recorded runs of this name tell."""
    from joulewise.searching import journal
    from joulewise.searching.past import of_recording, of_study

    folder = settings().runs
    path = Path(folder).parent / "studies" / f"{journal.safe_name(name)}.jsonl"
    if folder and path.is_file():
        return of_study(name, journal.read(path))
    if not metric:
        raise UsageError(
            f"there is no study {name!r}; to learn from recorded runs say what they logged: --metric NAME"
        )
    found = []
    for told in recordings(name, limit=500):
        total = told.footprint.total_j
        found.append(of_recording(told.recording, metric, total.value if total else None))
    known = [run for run in found if run is not None]
    if not known:
        raise UsageError(
            f"there is no study {name!r}, and of {len(found)} runs of that name none logged {metric} and its parameters"
        )
    return known


def _study_log(name: str, title: str, store: str) -> Callable[[], Log]:
    """Return what opens the log of a study: in the database `store`, else in a file beside the recordings."""
    from joulewise.searching import journal, log

    if store:
        if not name:
            raise UsageError(
                "a study in a store needs a name by which others join it; give one with name (--name)"
            )
        from joulewise.ledger.store import open_store

        def opened() -> Log:
            try:
                return log.DatabaseLog(open_store(store), name)
            except LedgerError as error:  # the user named it
                raise UsageError(f"{error} (the store of the study)") from None

        return opened
    folder = settings().runs
    if not folder:
        return log.MemoryLog
    file = (
        f"{journal.safe_name(name)}.jsonl" if name else f"{new_run_id(title, SystemClock().now_utc())}.jsonl"
    )
    return lambda: log.FileLog(Path(folder).parent / "studies" / file)


def _equipment(title: str, zone: str | None) -> Callable[[bool], AbstractContextManager[Equipment]]:
    """Return what meters a worker of a search, in its own process: recorded as a run, or without a trace."""
    from joulewise.measuring.watching import carried_on, spent
    from joulewise.searching.ordering import Equipment
    from joulewise.vocabulary.recording import EndState

    @contextmanager
    def equip(recorded: bool) -> Iterator[Equipment]:
        own = recorder(os.getpid(), title, sys.orig_argv, role="track", keep=recorded, flags={"zone": zone})
        where = place(zone=zone)

        def measure() -> Spent:
            latest, now_s = own.latest, own.now_s()
            return spent(carried_on(latest, now_s) if latest else None, where, now_s)

        own.start()
        try:
            _first_tick(own)
            yield Equipment(measure, lambda **values: own.append("point", values=values))
        except BaseException as raised:
            own.stop(EndState.FAILED, reason=f"{type(raised).__name__}: {raised}"[:500])
            raise
        own.stop(EndState.FINISHED, exit_code=0)

    return equip


def _first_tick(own: Recorder, within_s: float = 3.0) -> None:
    """Wait until the meters have been read once: before that no joules are known."""
    clock = SystemClock()
    end_s = clock.monotonic_s() + within_s
    while clock.monotonic_s() < end_s and (own.latest is None or own.latest.energy_j is None):
        time.sleep(0.01)
