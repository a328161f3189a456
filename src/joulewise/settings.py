"""Settings: one frozen value, read once; each entry knows where it came from.

Rising precedence: defaults, the user's file (`settings.toml` in the configuration folder), `[tool.joulewise]` of
the nearest pyproject.toml, `JOULEWISE_*` variables, flags. Where things live:

    runs      JOULEWISE_HOME/runs       or  XDG_DATA_HOME/joulewise/runs       (~/.local/share/joulewise/runs)
    grid      JOULEWISE_HOME/grid       or  XDG_DATA_HOME/joulewise/grid       (~/.local/share/joulewise/grid)
    ledger    JOULEWISE_HOME/ledger.db  or  XDG_STATE_HOME/joulewise/ledger.db (~/.local/state/joulewise/ledger.db)
    features  JOULEWISE_HOME/features   or  XDG_CACHE_HOME/joulewise/features   (~/.cache/joulewise/features)
    jobs      JOULEWISE_HOME/jobs       or  XDG_STATE_HOME/joulewise/jobs      (~/.local/state/joulewise/jobs)
    settings  XDG_CONFIG_HOME/joulewise/settings.toml                          (~/.config/joulewise/settings.toml)
    keys      XDG_CONFIG_HOME/joulewise/keys.toml, readable by you alone       (grid/keys.py)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from joulewise.vocabulary.errors import UnknownName, UsageError

ALERT_EVENTS = ("budget", "idle", "settling")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user has set. Empty text means: not set; the field's comment says what then."""

    runs: str = ""  # folder of recordings; see the module
    ledger: str = ""  # path of the SQLite ledger or a postgresql:// URL; see the module
    person: str = ""  # whose work it is, for totals of a team; unset: the user of the process
    project: str = ""  # what it is for; unset: the folder of the git repository
    push: str = "after"  # when the end of a run sends its recording to a server: after (beside), wait, off
    alerts: str = ""  # address of a webhook that is told of alert_events; never asked unless set
    alert_events: str = "budget,idle,settling"  # what it is told
    alert_idle_s: float = 300.0  # how long a device must stand idle to be told, while the run goes on
    zone: str = ""  # where the electricity comes from: DE, US-CA, auto; unset: unknown, the world's range
    tariff: str = ""  # "0.30EUR/kWh" or by time of use; unset: the cost is unknown
    currency: str = "EUR"  # of budgets and tariffs
    pue: float = 0.0  # 0: by the kind of place
    wall_factor: float = 0.0  # wall watts over device watts, from a plug or IPMI; 0: modelled
    interval_s: float = 1.0  # seconds between two ticks
    live: str = "auto"  # live view: auto, line, plain, off
    full_load_w: float = 0.0  # watts of all processors at full load, if you know them; 0: by model or default
    prometheus: str = (
        ""  # URL of a DCGM or Kepler exporter, or of a Prometheus server; never asked unless set
    )
    prometheus_query: str = "dcgm"  # a preset (dcgm, kepler) or a PromQL expression in joules
    grid: str = ""  # folder of kept intensities and prices; see the module
    online: bool = False  # whether grid services may be asked without --online
    targets: str = (
        ""  # file of a team's targets and monthly budgets; unset: targets.toml beside the settings file
    )
    carbon_aware_sdk: str = (
        ""  # address of a carbon-aware-sdk web API, then average or marginal; asked only when set
    )
    features: str = ""  # folder of cached training data and of the online store; see the module
    online_store: str = (
        ""  # online store of features: a path or redis://host:port/0; unset: online.db in `features`
    )
    meters: str = "auto"  # auto, or the names of the meter families to use, separated by commas

    def tells(self, event: str) -> bool:
        """Return whether a webhook is to be told of an event."""
        return bool(self.alerts) and event in self.alert_events.replace(" ", "").split(",")


@dataclass(frozen=True, slots=True)
class Setting:
    """One entry: its key, value and where the value came from."""

    key: str
    value: Any
    source: str


def runs_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return where recordings are kept when no file says otherwise; None if the user has no home."""
    return _folder(environment, "XDG_DATA_HOME", ".local/share", "runs")


def ledger_path(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return where the SQLite ledger is; None if the user has no home."""
    return _folder(environment, "XDG_STATE_HOME", ".local/state", "ledger.db")


def grid_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return where intensities and prices are kept; None if the user has no home."""
    return _folder(environment, "XDG_DATA_HOME", ".local/share", "grid")


def user_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the user's settings file, whether it exists or not; None if the user has no home."""
    base = environment.get("XDG_CONFIG_HOME") or _home(environment, ".config")
    return Path(base) / "joulewise" / "settings.toml" if base else None


def features_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return where derived data are kept; None if the user has no home."""
    return _folder(environment, "XDG_CACHE_HOME", ".cache", "features")


def jobs_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return where local jobs of the queue are kept (their output, their state); None if the user has no home."""
    return _folder(environment, "XDG_STATE_HOME", ".local/state", "jobs")


def load(
    environment: Mapping[str, str] = os.environ,
    folder: str | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings in force. Raises UsageError naming the file and key of a wrong entry."""
    return replace(Settings(), **{s.key: s.value for s in sources(environment, folder, flags)})


def sources(
    environment: Mapping[str, str] = os.environ,
    folder: str | None = None,
    flags: Mapping[str, Any] | None = None,
) -> list[Setting]:
    """Return every setting with its value and where it came from, in the order of the fields."""
    chosen = {f.name: Setting(f.name, f.default, "default") for f in fields(Settings)}
    runs, ledger, grid = runs_folder(environment), ledger_path(environment), grid_folder(environment)
    chosen["runs"] = Setting("runs", str(runs or ""), "default")
    chosen["ledger"] = Setting("ledger", str(ledger or ""), "default")
    chosen["grid"] = Setting("grid", str(grid or ""), "default")
    chosen["features"] = Setting("features", str(features_folder(environment) or ""), "default")
    for values, source in _layers(environment, folder, flags or {}):
        for key, value in values.items():
            chosen[key] = Setting(key, checked(key, value, source), source)
    return list(chosen.values())


def checked(key: str, value: Any, source: str) -> Any:
    """Return `value` as the type that `key` has; raises UsageError naming the key, the value seen and the source."""
    kinds = {f.name: type(f.default) for f in fields(Settings)}
    if key not in kinds:
        raise UnknownName("setting", key, kinds, f"(in {source})")
    if kinds[key] is bool:
        said = {"true": True, "false": False}.get(str(value).casefold())
        if said is None:
            raise UsageError(f"{key} is {value!r} in {source}, but must be true or false")
        return said
    if kinds[key] is float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise UsageError(f"{key} is {value!r} in {source}, but must be a number") from None
        if number < 0 or (key == "interval_s" and number < 0.01):
            raise UsageError(
                f"{key} is {value!r} in {source}, but must be at least {0.01 if key == 'interval_s' else 0}"
            )
        return number
    if not isinstance(value, str):
        raise UsageError(f"{key} is {value!r} in {source}, but must be text")
    if key == "live" and value not in ("auto", "line", "plain", "off"):
        raise UsageError(f"live is {value!r} in {source}, but must be auto, line, plain or off")
    if key == "alert_events" and not set(value.replace(" ", "").split(",")) <= {"", *ALERT_EVENTS}:
        raise UsageError(
            f"alert_events is {value!r} in {source}, but may hold {', '.join(ALERT_EVENTS)} with commas between"
        )
    if key == "push" and value not in ("after", "wait", "off"):
        raise UsageError(f"push is {value!r} in {source}, but must be after, wait or off")
    return value


def _layers(
    environment: Mapping[str, str], folder: str | None, flags: Mapping[str, Any]
) -> list[tuple[Mapping[str, Any], str]]:
    layers: list[tuple[Mapping[str, Any], str]] = []
    path = user_file(environment)
    if path is not None and os.path.isfile(path):  # also where a folder above may not be entered
        layers.append((_toml(path), str(path)))
    project = _project_file(folder)
    if project is not None:
        table = _toml(project).get("tool", {}).get("joulewise", {})
        if table:
            layers.append((table, f"{project} [tool.joulewise]"))
    known = {f.name for f in fields(Settings)}
    for name, value in environment.items():
        key = name.removeprefix("JOULEWISE_").lower()
        key = {"interval": "interval_s"}.get(key, key)
        if name.startswith("JOULEWISE_") and key in known and value:
            layers.append(({key: value}, f"the variable {name}"))
    layers.append(({k: v for k, v in flags.items() if v is not None}, "the command line"))
    return layers


def _toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"cannot read {path}: {error}; mend or remove the line") from None
    except OSError:
        return {}


def _project_file(folder: str | None) -> Path | None:
    try:
        here = Path(folder or os.getcwd())
    except OSError:  # the current folder was deleted
        return None
    for parent in (here, *here.parents):
        path = parent / "pyproject.toml"
        if os.path.isfile(path):
            return path
    return None


def _folder(environment: Mapping[str, str], variable: str, below_home: str, name: str) -> Path | None:
    if home := environment.get("JOULEWISE_HOME"):
        return Path(home) / name
    base = environment.get(variable) or _home(environment, below_home)
    return Path(base) / "joulewise" / name if base else None


def _home(environment: Mapping[str, str], below: str) -> str:
    home = environment.get("HOME", "")
    if not home:
        expanded = os.path.expanduser("~")
        home = expanded if expanded.startswith("/") else ""
    return f"{home}/{below}" if home and home != "/" else ""
