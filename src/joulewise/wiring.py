"""Wiring: the one place that chooses. Which meters, which place, which ledger; everything else takes arguments.

Read it like a list. Nothing here is clever: each function reads the settings, calls one room and hands the result
to another. Heavy imports stay inside the functions, so that a verb pays only for what it uses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulewise import settings as settings_room
from joulewise.ledger.files import new_run_id, read_recording, run_folder
from joulewise.settings import Settings
from joulewise.vocabulary.clock import SystemClock
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.recording import Component, Recording

if TYPE_CHECKING:
    from joulewise.catalogue.cloud import CloudAnswer
    from joulewise.catalogue.place import Place
    from joulewise.ledger.index import Summary
    from joulewise.ledger.store import Store
    from joulewise.measuring.accounting import Account
    from joulewise.measuring.meters.port import Found
    from joulewise.measuring.recorder import Recorder
    from joulewise.measuring.track import Run, Track
    from joulewise.measuring.watching import Watch
    from joulewise.vocabulary.budget import Budget, Verdict
    from joulewise.vocabulary.finding import Finding

INSIDE = "JOULEWISE_RECORDING"  # in the environment of recorded work: the folder of its recording


@dataclass(frozen=True, slots=True)
class Family:
    """A family of meters: its name, the components that it can give, and how its devices are found."""

    name: str
    components: frozenset[Component]
    find: Callable[[Settings, int], Found]


def _perf(settings: Settings, root_pid: int) -> Found:
    from joulewise.measuring.meters.perf import find_perf

    return find_perf()


def _powercap(settings: Settings, root_pid: int) -> Found:
    from joulewise.measuring.meters.rapl import find_powercap

    return find_powercap()


def _hwmon(settings: Settings, root_pid: int) -> Found:
    from joulewise.measuring.meters.hwmon import find_hwmon

    return find_hwmon()


def _cray(settings: Settings, root_pid: int) -> Found:
    if not os.path.isdir("/sys/cray"):  # spares every other machine the import
        from joulewise.measuring.meters.port import Found

        return Found()
    from joulewise.measuring.meters.cluster import find_cray

    return find_cray()


def _slurm(settings: Settings, root_pid: int) -> Found:
    from joulewise.measuring.meters.cluster import SlurmEnergyMeter
    from joulewise.measuring.meters.port import Found

    job_id = os.environ.get("SLURM_JOB_ID", "")
    return Found((SlurmEnergyMeter(job_id),)) if job_id else Found()


def _nvml(settings: Settings, root_pid: int) -> Found:
    from joulewise.measuring.meters.nvml import find_nvml

    return find_nvml()


def _prometheus(settings: Settings, root_pid: int) -> Found:
    if not settings.prometheus:
        from joulewise.measuring.meters.port import Found

        return Found()
    from joulewise.measuring.meters.prometheus import find_prometheus

    return find_prometheus(settings.prometheus, settings.prometheus_query)


def _modelled(settings: Settings, root_pid: int) -> Found:
    from joulewise.measuring.meters.modelled import find_modelled

    return find_modelled(network_pid=root_pid, full_load_w=settings.full_load_w or None)


# Best first: a family is asked only for components that none before it could give.
FAMILIES = (
    Family("perf", frozenset({Component.CPU, Component.MEMORY}), _perf),
    Family("powercap", frozenset({Component.CPU, Component.MEMORY}), _powercap),
    Family("cray", frozenset({Component.CPU, Component.MEMORY, Component.GPU}), _cray),
    Family("nvml", frozenset({Component.GPU}), _nvml),
    Family("hwmon", frozenset({Component.CPU, Component.GPU, Component.MEMORY}), _hwmon),
    Family("prometheus", frozenset({Component.CPU, Component.GPU, Component.MEMORY}), _prometheus),
    Family(
        "modelled",
        frozenset({Component.CPU, Component.MEMORY, Component.STORAGE, Component.NETWORK}),
        _modelled,
    ),
)

# Only where the settings name them: asking them costs others something.
ON_DEMAND = (Family("slurm", frozenset({Component.NODE}), _slurm),)


def families(settings: Settings) -> tuple[Family, ...]:
    """Return the families that the settings name: `auto` is all of ours; others join by their entry point's name."""
    ours = {f.name: f for f in (*FAMILIES, *ON_DEMAND)}
    names = [n.strip() for n in settings.meters.split(",") if n.strip()]
    chosen: list[Family] = []
    for name in names:
        if name == "auto":
            chosen += FAMILIES
        elif name in ours:
            chosen.append(ours[name])
        else:
            chosen.insert(0, _foreign(name, ours))  # whoever names a family wants it before ours
    return tuple(chosen)


def _foreign(name: str, ours: Mapping[str, Family]) -> Family:
    from importlib.metadata import entry_points

    points = {p.name: p for p in entry_points(group="joulewise.meters")}
    if name not in points:
        raise UnknownName("family of meters", name, [*ours, *points, "auto"], "(in the setting meters)")
    find = points[name].load()
    return Family(name, frozenset(Component), lambda _settings, _root_pid: find())


def survey(settings: Settings, root_pid: int) -> Iterator[tuple[str, Found]]:
    """Yield what each family found, best first, each component from one family only.

    A source that could not be read is told only if nothing measured stands in for it.
    """
    from joulewise.measuring.meters.port import Found
    from joulewise.vocabulary.figures import Basis

    covered: set[Component] = set()
    measured: set[Component] = set()
    complaints: list[tuple[Family, Found]] = []
    for family in families(settings):
        if family.components <= covered:
            continue
        found = family.find(settings, root_pid)
        kept = []
        for meter in found.meters:
            if meter.device.component in covered:
                meter.close()
            else:
                kept.append(meter)
        counted = [m.device for m in kept if m.device.counted]
        covered |= {d.component for d in counted}
        measured |= {d.component for d in counted if d.basis is Basis.MEASURED}
        if found.missing:
            complaints.append((family, Found((), found.missing)))
        if kept:
            yield family.name, Found(tuple(kept))
    for family, found in complaints:
        if not family.components & {Component.CPU, Component.GPU} <= measured:
            yield family.name, found


def settings(flags: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings in force."""
    return settings_room.load(flags=flags)


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
    from joulewise.measuring.metadata import describe, redacted
    from joulewise.measuring.recorder import Recorder, Work

    chosen = settings(flags)
    run_id = run_id or new_run_id(name, SystemClock().now_utc())
    folder = run_folder(Path(chosen.runs), run_id) if keep and chosen.runs else None
    cwd, environment = _surroundings(root_pid) if role == "attach" else (_cwd(), dict(os.environ))
    inside = environment.get(INSIDE, "")

    def facts() -> dict[str, Any]:
        told = describe(command, cwd, environment)
        if inside:
            told["inside_run"] = os.path.basename(inside)
        told.update(_whereabouts(chosen))
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


def place(
    recording: Recording | None = None, zone: str | None = None, chosen: Settings | None = None
) -> Place:
    """Return the place of a recording: its own zone unless told otherwise, the settings' PUE and tariff."""
    from joulewise.catalogue.place import place as place_of

    chosen = chosen or settings()
    facts: Mapping[str, Any] = recording.machine.facts if recording else {}
    told: Mapping[str, Any] = recording.metadata if recording else {}
    return place_of(
        zone or str(told.get("zone", "")) or ("" if chosen.zone == "auto" else chosen.zone) or None,
        kind=str(told["cloud"]) if told.get("cloud") else None,
        chassis=str(facts.get("chassis", "unknown")),
        tariff=chosen.tariff or None,
        pue_value=chosen.pue or None,
        wall_calibration=chosen.wall_factor or None,
        cloud=_cloud(zone),
    )


def _cloud(zone: str | None) -> CloudAnswer | None:
    if zone != "auto":
        return None
    from joulewise.catalogue.cloud import ask_cloud

    return ask_cloud()


def account(recording: Recording, zone: str | None = None, chosen: Settings | None = None) -> Account:
    """Return the account of a recording at its place."""
    from joulewise.measuring.accounting import account as account_of

    return account_of(recording, place(recording, zone, chosen))


def findings(account: Account, *, allow_slower: bool = False) -> tuple[Finding, ...]:
    """Return the findings of a run, the largest predicted saving first."""
    from joulewise.diagnosing import diagnose
    from joulewise.vocabulary.observed import observe

    return diagnose(account.recording, observe(account.recording), account, allow_slower=allow_slower)


def advice(account: Account) -> str:
    """Return the first finding of a run in one line, "" if there is none."""
    from joulewise.diagnosing import first_line

    return first_line(findings(account))


def store() -> Store:
    """Return the ledger that the settings name."""
    from joulewise.ledger.store import open_store

    chosen = settings()
    if not chosen.ledger:
        raise UsageError("there is no place for the ledger: no home folder is known; set JOULEWISE_HOME")
    return open_store(chosen.ledger)


def summarise(recording: Recording) -> Summary:
    """Return the line of the ledger's index for a recording."""
    from joulewise.measuring.summarising import summary

    return summary(recording)


def refresh(ledger: Store | None = None) -> Store:
    """Bring the ledger's index up to date with the recordings, and return the ledger."""
    from joulewise.ledger.index import refresh as refresh_index

    ledger = ledger or store()
    refresh_index(ledger, Path(settings().runs), summarise)
    return ledger


def find(text: str) -> Recording:
    """Return the recording that `text` names: `latest`, an id or its beginning, a name or its beginning, a folder."""
    if os.sep in text and os.path.isdir(text):
        return read_recording(Path(text))
    from joulewise.ledger.index import find_run

    ledger = refresh()
    try:
        return read_recording(Path(find_run(ledger, text).folder))
    finally:
        ledger.close()


def recordings(text: str = "", limit: int = 20) -> list[Account]:
    """Return the accounts of the newest recordings whose name begins with `text`, newest first."""
    from joulewise.ledger.index import list_runs

    ledger = refresh()
    try:
        return [
            account(read_recording(Path(s.folder))) for s in list_runs(ledger, name=text or None, limit=limit)
        ]
    finally:
        ledger.close()


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
    limits = _budget(budget, zone, assume_high)

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


def _budget(budget: Budget | str | None, zone: str | None, assume_high: bool) -> Budget | None:
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


def load_ipython_extension(shell: Any) -> None:
    """Register `%%joulewise` with a notebook's shell."""
    from joulewise.measuring.magic import register

    register(shell, track, report)


__all__ = ["FAMILIES", "Family", "account", "families", "find", "place", "recorder", "recordings", "refresh",
           "report", "settings", "store", "summarise", "survey", "track", "watch"]  # fmt: skip
