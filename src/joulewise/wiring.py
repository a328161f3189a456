"""Wiring: the one place that chooses. Which meters, which place, which ledger; everything else takes arguments.

Read it like a list. Nothing here is clever: each function reads the settings, calls one room and hands the result
to another. Heavy imports stay inside the functions, so that a verb pays only for what it uses.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulewise import settings as settings_room
from joulewise.ledger.files import new_run_id, read_recording, run_folder
from joulewise.settings import Settings
from joulewise.vocabulary.clock import SystemClock
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.recording import Component, Machine, Recording

if TYPE_CHECKING:
    from datetime import datetime

    from joulewise.catalogue.cloud import CloudAnswer
    from joulewise.catalogue.place import Place
    from joulewise.features.cache import Cached
    from joulewise.features.online import OnlineStore
    from joulewise.grid.at_hand import Outlook
    from joulewise.grid.sources.port import Source
    from joulewise.launching.port import Engine
    from joulewise.ledger.index import Summary
    from joulewise.ledger.store import Store
    from joulewise.measuring.accounting import Account
    from joulewise.measuring.meters.port import Found
    from joulewise.measuring.recorder import Recorder
    from joulewise.measuring.track import Run, Track
    from joulewise.measuring.watching import Watch
    from joulewise.scheduling.plan import Grid
    from joulewise.scheduling.queue_plan import Renewed
    from joulewise.scheduling.submitting import Submitted
    from joulewise.searching.fleet import Cluster
    from joulewise.searching.hours import Hours
    from joulewise.searching.log import Log
    from joulewise.searching.optuna_plug import OptunaPlug
    from joulewise.searching.ordering import Equipment
    from joulewise.searching.ordering import Order as StudyOrder
    from joulewise.searching.past import Past
    from joulewise.searching.space import Parameter, Space
    from joulewise.searching.study import Study
    from joulewise.vocabulary.budget import Budget, Spent, Verdict
    from joulewise.vocabulary.finding import Finding
    from joulewise.vocabulary.job import Duration
    from joulewise.vocabulary.signal import Meaning, Signal
    from joulewise.vocabulary.ticket import Needs, Ticket

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

# What can be changed inside a program, by the module that does it; the agent there loads the file by its place.
REMEDIES: Mapping[str, str] = {
    "threads": "joulewise.diagnosing.remedies.threads",
    "workers": "joulewise.diagnosing.remedies.workers",
    "batch": "joulewise.diagnosing.remedies.batch",
    "cache": "joulewise.diagnosing.remedies.cache",
    "precision": "joulewise.diagnosing.remedies.precision",
    "validate": "joulewise.diagnosing.remedies.validate",
    "early-stop": "joulewise.diagnosing.remedies.early_stop",
    "sandbox": "joulewise.diagnosing.remedies.sandbox",
    "trial": "joulewise.diagnosing.remedies.trial",
}

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
    """Return the place of a recording, or of this machine: its zone unless told otherwise, the settings' PUE and tariff."""
    from joulewise.catalogue.place import place as place_of

    chosen = chosen or settings()
    facts: Mapping[str, Any] = (recording.machine if recording else _this_machine()).facts
    told: Mapping[str, Any] = recording.metadata if recording else {}
    here = place_of(
        zone or str(told.get("zone", "")) or ("" if chosen.zone == "auto" else chosen.zone) or None,
        kind=str(told["cloud"]) if told.get("cloud") else None,
        chassis=str(facts.get("chassis", "unknown")),
        tariff=chosen.tariff or None,
        pue_value=chosen.pue or None,
        wall_calibration=chosen.wall_factor or None,
        cloud=_cloud(zone),
    )
    hourly = _hourly(here, recording, chosen) if recording is not None else None
    return here if hourly is None else replace(here, hourly=hourly)


def _hourly(here: Place, recording: Recording, chosen: Settings) -> Signal | None:
    """Return the intensity of the recording's hours where any was kept: actual values, and forecasts of the rest."""
    if here.zone is None or not chosen.grid or not os.path.isdir(os.path.join(chosen.grid, here.zone.code)):
        return None
    from datetime import timedelta

    from joulewise.grid.at_hand import recorded
    from joulewise.grid.history import History

    end_utc = recording.started_utc + timedelta(seconds=recording.duration_s)
    return recorded(History(Path(chosen.grid)), here.zone.code, recording.started_utc, end_utc)


def grid_zone(text: str) -> str:
    """Return the code under which the grid room keeps a zone: the catalogue's where it knows it, else as given."""
    from joulewise.catalogue.zones import find_zone

    try:
        return find_zone(text).code
    except UnknownName:
        # services know more zones than the catalogue: CAISO_NORTH, US-TEX-ERCO, GB-13
        if re.fullmatch(r"[A-Z][A-Z0-9]+([-_][A-Z0-9]+)+", text):
            return text
        raise


def grid_sources(chosen: Settings, keys: Mapping[str, str] | None = None) -> list[Source]:
    """Return the services that may be asked, best first: those that need no key, and those whose key is there."""
    from joulewise.grid.fetching import Fetcher
    from joulewise.grid.keys import read_keys
    from joulewise.grid.sources.carbon_aware_sdk import CarbonAwareSdk
    from joulewise.grid.sources.eia import Eia
    from joulewise.grid.sources.electricity_maps import ElectricityMaps
    from joulewise.grid.sources.energy_charts import EnergyCharts
    from joulewise.grid.sources.entsoe import Entsoe
    from joulewise.grid.sources.uk_carbon_intensity import UkCarbonIntensity
    from joulewise.grid.sources.watttime import WattTime

    user = settings_room.user_file()
    if keys is None:
        keys = read_keys(user.with_name("keys.toml") if user else None)
    fetcher = Fetcher(Path(chosen.grid) / "answers" if chosen.grid else None)
    found: list[Source] = []
    if keys.get("electricitymaps"):
        found.append(ElectricityMaps(fetcher, keys["electricitymaps"]))
    found += [UkCarbonIntensity(fetcher), EnergyCharts(fetcher)]
    if keys.get("entsoe"):
        found.append(Entsoe(fetcher, keys["entsoe"]))
    if keys.get("eia"):
        found.append(Eia(fetcher, keys["eia"]))
    if chosen.carbon_aware_sdk:
        found.append(CarbonAwareSdk(fetcher, *_sdk(chosen.carbon_aware_sdk)))
    if keys.get("watttime"):
        found.append(WattTime(fetcher, keys["watttime"]))
    return found


def prices(zone: str, hours: int = 24, now: datetime | None = None) -> Signal | None:
    """Return the day-ahead prices that were kept of a zone's coming hours (`outlook(online=True)` fetches them); None without."""
    from joulewise.grid.at_hand import prices as prices_of
    from joulewise.grid.history import History

    chosen = settings()
    if not chosen.grid:
        return None
    return prices_of(History(Path(chosen.grid)), grid_zone(zone), now or SystemClock().now_utc(), hours)


def _sdk(text: str) -> tuple[str, Meaning]:
    """Return address and meaning of the carbon-aware-sdk from its setting: `http://host:port average`."""
    from joulewise.vocabulary.signal import Factors, Kind, Meaning, Scope

    address, _, kind = text.partition(" ")
    kinds = {
        "average": Meaning(),
        "marginal": Meaning(Kind.MARGINAL, Factors.DIRECT, Scope.PRODUCTION),
    }
    if kind.strip() not in kinds:
        raise UsageError(
            f"carbon_aware_sdk is {text!r}, but must be its address and what it serves: 'http://localhost:8080 average' or 'marginal'"
        )
    return address, kinds[kind.strip()]


def outlook(
    zone: str,
    hours: int = 24,
    *,
    online: bool = False,
    history_file: Path | None = None,
    sources: Sequence[Source] | None = None,
    now: datetime | None = None,
) -> Outlook:
    """Return the coming hours of a zone by the best that is at hand; services are asked only with `online`.

    `history_file` stands before what was kept. What a service answers is kept for the next time.
    """
    from joulewise.catalogue.zones import find_zone
    from joulewise.grid.at_hand import outlook as outlook_of
    from joulewise.grid.at_hand import renew
    from joulewise.grid.history import History, read_file
    from joulewise.grid.profile import shipped

    chosen = settings()
    code = grid_zone(zone)
    now = now or SystemClock().now_utc()
    history = History(Path(chosen.grid)) if chosen.grid else None
    notes: list[str] = []
    if online or chosen.online:
        if history is None:
            raise UsageError(
                "there is no place to keep what services answer: no home folder is known; set JOULEWISE_HOME"
            )
        notes += renew(grid_sources(chosen) if sources is None else sources, history, code, now)
    past = read_file(history_file, code) if history_file else (history.past(code) if history else None)
    published = history.issues(code, past.meaning if past else None) if history else []
    try:
        yearly = find_zone(code)
    except UnknownName:
        yearly = None
    typical = shipped(code)
    if past is None and not published and typical is None and yearly is None:
        notes.append(f"nothing is known of {code}: the world's mean is used")
    return outlook_of(
        code, now, hours, past=past, published=published, shipped=typical, yearly=yearly, notes=notes
    )


def planning_grid(
    zones: Sequence[str],
    at_utc: datetime,
    until_utc: datetime,
    histories: Mapping[str, str],
    *,
    online: bool = False,
    priced: bool = False,
) -> Grid:
    """Return the signals that a plan rests on: for each zone the best outlook at hand, and the tariff's prices.

    `histories` names a file of measured intensities by zone. What an outlook had to do without stands in its source.
    `priced` says that prices are needed: without a tariff the day-ahead prices that were kept stand in.
    """
    from math import ceil

    from joulewise.catalogue.tariffs import Tariff
    from joulewise.scheduling.plan import Grid
    from joulewise.scheduling.prices import tariff_signal

    hour = at_utc.replace(minute=0, second=0, microsecond=0)
    hours = ceil((until_utc - hour).total_seconds() / 3600)
    carbon = {}
    for zone in zones:
        file = histories.get(zone)
        told = outlook(zone, hours, online=online, history_file=Path(file) if file else None, now=at_utc)
        origin = told.signal.source or told.method
        head = origin if told.method in origin else f"{told.method}: {origin}"
        source = "; ".join(dict.fromkeys((head, *told.notes)))
        carbon[zone] = replace(told.signal, source=source)
    chosen = settings()
    if chosen.tariff:
        tariff = Tariff.parse(chosen.tariff)
        return Grid(carbon, {zone: tariff_signal(tariff, zone, at_utc, until_utc) for zone in zones})
    kept = {zone: price for zone in zones if (price := prices(zone, hours, at_utc))} if priced else {}
    return Grid(
        carbon,
        {zone: replace(s, source=f"day-ahead of {s.source or 'a service'}") for zone, s in kept.items()},
    )


ENGINES = ("local", "slurm", "ray", "kubernetes")
SHARES_FILES = frozenset(
    {"local", "slurm"}
)  # engines whose machines have this one's files, programs among them


def engine(name: str) -> Engine:
    """Return the engine of this name: somewhere that the queue's jobs run.

    Ray is asked at RAY_API_SERVER_ADDRESS; Kubernetes by the user's kube configuration, with the image, namespace and
    Kueue queue of JOULEWISE_KUBERNETES_IMAGE, _NAMESPACE and _QUEUE.
    """
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES, f"(known are {', '.join(ENGINES)})")
    if name == "slurm":
        from joulewise.launching.slurm import Slurm

        return Slurm(jobs_folder() / ".slurm")
    if name == "ray":
        from joulewise.launching.ray import Ray

        address = os.environ.get("RAY_API_SERVER_ADDRESS") or "http://127.0.0.1:8265"
        return Ray(jobs_folder() / ".ray", address)
    if name == "kubernetes":
        return _kubernetes()
    from joulewise.launching.local_jobs import LocalJobs

    return LocalJobs(jobs_folder())


def engine_room(engine: Engine) -> Needs | None:
    """Return what an engine's cluster has in all; None where that is this machine, or not known."""
    from joulewise.launching.ray import Ray
    from joulewise.launching.slurm import Slurm
    from joulewise.vocabulary.ticket import Needs

    if not isinstance(engine, Slurm | Ray):
        return None
    has = engine.room()
    return Needs(has.cpus, has.gpus, has.memory_bytes or 0)


def _kubernetes() -> Engine:
    image = os.environ.get("JOULEWISE_KUBERNETES_IMAGE")
    if not image:
        raise UsageError("say which image runs the jobs, for instance JOULEWISE_KUBERNETES_IMAGE=python:3.11")
    try:
        from kubernetes import client, config
    except ImportError:
        raise UsageError(
            "the Kubernetes client is not installed: pip install 'joulewise[kubernetes]'"
        ) from None
    from joulewise.launching.kubernetes import Kubernetes

    try:
        config.load_config()  # type: ignore[no-untyped-call,unused-ignore]
    except config.ConfigException as error:
        raise UsageError(f"no Kubernetes cluster is configured: {error}") from None
    namespace = os.environ.get("JOULEWISE_KUBERNETES_NAMESPACE", "default")
    return Kubernetes(client.ApiClient(), image, namespace, os.environ.get("JOULEWISE_KUBERNETES_QUEUE", ""))


def jobs_folder() -> Path:
    """Return where local jobs are kept; it is made, for its user alone."""
    folder = settings_room.jobs_folder()
    if folder is None:
        raise UsageError("there is no place for jobs: no home folder is known; set JOULEWISE_HOME")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def jobs_place() -> str:
    """Return the name of the place whose local jobs a worker here may judge: this host, and an id kept beside its jobs."""
    from secrets import token_hex

    file = jobs_folder() / "place"
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as fresh:
            fresh.write(token_hex(4))
    except FileExistsError:
        pass
    return f"{os.uname().nodename}/{file.read_text('ascii')}"


def queue_store() -> Store:
    """Return the ledger as the queue needs it: several hosts may write to it, so SQLite on a network disk is refused."""
    from joulewise.ledger.store import open_store

    chosen = settings()
    if not chosen.ledger:
        raise UsageError("there is no place for the ledger: no home folder is known; set JOULEWISE_HOME")
    return open_store(chosen.ledger, shared=True)


def learnt(command: Sequence[str]) -> tuple[Duration, float | None]:
    """Return how long finished runs of this command took, and their mean watts (None: not known).

    A run of the queue counts by the time that it really ran, without its pauses.
    """
    import shlex

    from joulewise.ledger.index import like_runs
    from joulewise.ledger.jobs import attempts
    from joulewise.measuring.metadata import redacted
    from joulewise.vocabulary.job import Duration

    seconds, watts = [], []
    ledger = refresh()
    try:
        for run in like_runs(ledger, shlex.join(redacted(command))[:500]):
            key = next((t.removeprefix("job:") for t in run.tags or () if t.startswith("job:")), "")
            ran = (
                [a for a in attempts(ledger, key.partition("-")[0]) if key.endswith(f"-{a.fence}")]
                if key
                else []
            )
            ran_s = (
                sum((end - begin).total_seconds() for a in ran for begin, end in a.ran if end)
                or run.duration_s
            )
            if ran_s > 0:
                seconds.append(ran_s)
                if run.energy_j is not None:
                    watts.append(run.energy_j.value / ran_s)
    finally:
        ledger.close()
    count = len(seconds)
    told = f"{count} run{'s' if count != 1 else ''} of this command"
    return Duration.learnt(seconds, told), sum(watts) / len(watts) if watts else None


def recorded_energy(tags: Collection[str]) -> float | None:
    """Return the joules of the work of all recordings that carry one of these tags; None where there is none, or one is unknown."""
    from joulewise.ledger.index import tagged_runs

    ledger = refresh()
    try:
        found = [run for tag in tags for run in tagged_runs(ledger, tag)]
    finally:
        ledger.close()
    if not found or any(run.energy_j is None for run in found):
        return None
    return sum(run.energy_j.value for run in found if run.energy_j is not None)


def actual(zone: str, start: datetime, end: datetime) -> Signal | None:
    """Return what the grid really did in these hours, from what was kept; None where an hour is not known yet."""
    from joulewise.grid.history import History

    chosen = settings()
    past = History(Path(chosen.grid)).past(zone) if chosen.grid else None
    if past is None or past.start_utc > start or past.end_utc < end:
        return None
    part = past.between(start, end)
    return None if part.gaps else part


def submit(ticket: Ticket, histories: Mapping[str, str] | None = None) -> Submitted:
    """Put a job into the queue of the settings' ledger and return its id and first plan."""
    from joulewise.scheduling.submitting import submit as submit_to

    now = SystemClock().now_utc()
    engine(ticket.engine)
    grid = planning_grid(ticket.job.zones, now, ticket.job.deadline_utc, histories or {})
    ledger = queue_store()
    try:
        return submit_to(ledger, ticket, grid, now)
    finally:
        ledger.close()


def renew_queue(ledger: Store) -> Renewed:
    """Plan what waits in the queue anew, by the best outlook at hand."""
    from joulewise.scheduling.queue_plan import renew

    return renew(
        ledger, lambda zones, start, end: planning_grid(zones, start, end, {}), SystemClock().now_utc()
    )


def recorded(ticket: Ticket, key: str) -> list[str]:
    """Return the command that runs a ticket's command under `joulewise run`, tagged with the attempt's key.

    An sbatch line stays as it is; on machines with other files joulewise records where it is installed there.
    """
    from joulewise.launching.slurm_directives import is_sbatch

    if ticket.engine == "slurm" and is_sbatch(ticket.argv):
        return list(ticket.argv)
    zone = ticket.job.zones[0]
    options = ["--quiet", "--name", ticket.job.name, "--tag", f"job:{key}"]
    options += ["--zone", zone] if zone else []
    options += ["--budget", ticket.budget] if ticket.budget else []
    if ticket.engine in SHARES_FILES:
        return [sys.executable, "-m", "joulewise", "run", *options, "--", *ticket.argv]
    run = f'command -v joulewise >/dev/null || exec "$@"; exec joulewise run {shlex.join(options)} -- "$@"'
    return ["sh", "-c", run, "sh", *ticket.argv]


def remedied(asked: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that has the agent change a program: a value for each of `REMEDIES` that is asked for."""
    from joulewise.measuring.agent.inside.hand import VARIABLE

    root = Path(__file__).parent.parent
    lines = (
        f"{name}\t{value}\t{root.joinpath(*REMEDIES[name].split('.'))}.py" for name, value in asked.items()
    )
    return {VARIABLE: "\n".join(lines)}


def _this_machine() -> Machine:
    from joulewise.measuring.machine import machine

    return machine()


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


def repeats(text: str, most: int = 20) -> list[Recording]:
    """Return the latest finished recordings of exactly that name, newest first; else the one that `find` finds."""
    from joulewise.ledger.index import list_runs
    from joulewise.vocabulary.recording import EndState

    ledger = refresh()
    try:
        named = [
            s
            for s in list_runs(ledger, name=text, state=EndState.FINISHED, limit=10 * most)
            if s.name == text
        ]
    finally:
        ledger.close()
    return [read_recording(Path(s.folder)) for s in named[:most]] or [find(text)]


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


def serving_period(name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Begin to record a serving period of this process: returns the rate of its joules, and what is told of the service.

    For servers that are not ours (`serving.ray_serve.application(..., begin=wiring.serving_period)`).
    """
    from functools import partial

    from joulewise.serving.running import RateOf, keep_notes

    own = recorder(os.getpid(), f"serve-{name}", sys.orig_argv, role="serve", params={"model": name})
    own.start()
    return RateOf(own, place()), partial(keep_notes, recorder=own)


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
    limits = _budget(budget, zone, assume_high)
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
    limits = _budget(budget, zone, assume_high)
    with _equipment(name, zone)(True) as own:
        yield OptunaPlug(epochs=epochs, measure=own.measure, budget=limits, seed=seed)


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

        return lambda: log.DatabaseLog(open_store(store), name)
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


def cached(
    dataset: Any,
    recipe: Any,
    *,
    fingerprint: str | None = None,
    limit_bytes: float | None = None,
    deterministic: bool = False,
) -> Cached:
    """Return `recipe` applied to every item of `dataset`: computed once, for all epochs, workers and experiments.

    See `joulewise.features.cached`; the folder is that of the settings (`features`).
    """
    from joulewise.features.cache import LIMIT_BYTES
    from joulewise.features.cache import cached as cached_in

    return cached_in(
        dataset,
        recipe,
        folder=_features_folder() / "cache",
        fingerprint=fingerprint,
        limit_bytes=LIMIT_BYTES if limit_bytes is None else limit_bytes,
        deterministic=deterministic,
    )


def online_store(place: str | None = None, *, wait_s: float = 5.0) -> OnlineStore:
    """Return the online store of features at `place`, or the one that the settings name; Redis answers within `wait_s`."""
    from joulewise.features.online import open_online

    return open_online(
        place or settings().online_store or str(_features_folder() / "online.db"), wait_s=wait_s
    )


def _features_folder() -> Path:
    folder = settings().features
    if not folder:
        raise UsageError("there is no place for features: no home folder is known; set JOULEWISE_HOME")
    return Path(folder)


def load_ipython_extension(shell: Any) -> None:
    """Register `%%joulewise` with a notebook's shell."""
    from joulewise.measuring.magic import register

    register(shell, track, report)


__all__ = ["FAMILIES", "Family", "account", "cached", "families", "find", "grid_sources", "grid_zone", "online_store", "optuna_plug", "outlook",
           "place", "planning_grid", "prices", "recorder", "recordings", "refresh", "report", "search", "settings", "store", "summarise", "survey", "track",
           "watch"]  # fmt: skip
