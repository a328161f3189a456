"""MLflow: its runs carry the id of the recording around them, and get what they cost.

Installed beside MLflow, `RecordingContext` is a plugin of it (entry point `mlflow.run_context_provider`): a run that begins
inside `joulewise run` is tagged with the recording's id. `joulewise export RUN --as mlflow --to URI` finds the runs with
that tag by MLflow's REST interface (2.0) and logs joules, grams and money as metrics, power as system metrics over time,
and how each figure is known as tags. What was logged before is overwritten, so that it may be done again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from joulewise.exchange.sending import request
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure

TAG = "joulewise.run_id"
_INSIDE = "JOULEWISE_RECORDING"
_MOST_METRICS = 900  # in one request: MLflow takes 1,000
_MOST_EXPERIMENTS = 1000


class RecordingContext:
    """MLflow's context provider: the tag of a run that begins inside a recording.

    MLflow asks for `in_context` and `tags` and for no base class, so that nothing of it is imported here.
    """

    def in_context(self) -> bool:
        """Say whether this process is being recorded."""
        return bool(os.environ.get(_INSIDE))

    def tags(self) -> dict[str, str]:
        """Return the id of the recording."""
        return {TAG: os.path.basename(os.environ.get(_INSIDE, ""))}


def send(accounts: Sequence[Account], server: str) -> list[str]:
    """Log what each recording cost to the MLflow runs inside it; returns their ids. Raises UsageError where there is none."""
    api = f"{server.rstrip('/')}/api/2.0/mlflow"
    experiments = [
        e["experiment_id"]
        for e in _pages(f"{api}/experiments/search", "experiments", {"max_results": _MOST_EXPERIMENTS})
    ]
    logged = []
    for account in accounts:
        run_id = account.recording.run_id
        wanted = {"experiment_ids": experiments, "filter": f"tags.`{TAG}` = '{run_id}'", "max_results": 100}
        found = _pages(f"{api}/runs/search", "runs", wanted) if experiments else []
        if not found:
            raise UsageError(
                f"no run at {server} is tagged {TAG} = {run_id}: MLflow runs get the tag when they begin inside 'joulewise run'"
            )
        for run in found:
            _log(api, run["info"]["run_id"], account)
            logged.append(run["info"]["run_id"])
    return logged


def _pages(url: str, what: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    token = ""
    while True:
        answer = request("POST", url, json={**wanted, **({"page_token": token} if token else {})}) or {}
        rows += answer.get(what, [])
        token = answer.get("next_page_token", "")
        if not token:
            return rows


def _log(api: str, run: str, account: Account) -> None:
    metrics, tags = measurements(account)
    for first in range(0, max(1, len(metrics)), _MOST_METRICS):
        batch = {
            "run_id": run,
            "metrics": metrics[first : first + _MOST_METRICS],
            "tags": tags if first == 0 else [],
        }
        request("POST", f"{api}/runs/log-batch", json=batch)


def measurements(account: Account) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return MLflow's metrics (name, value, time in milliseconds, step) and tags for a recording."""
    recording, cost = account.recording, account.footprint
    start_ms = round(recording.started_utc.timestamp() * 1000)
    end_ms = start_ms + round(recording.duration_s * 1000)
    metrics: list[dict[str, Any]] = []
    tags = [{"key": TAG, "value": recording.run_id}]
    figures: dict[str, Figure | None] = {
        "energy_j": cost.total_j,
        "facility_energy_j": cost.facility_j,
        "co2e_g": cost.carbon_g,
        "embodied_co2e_g": cost.embodied_g,
        "cost": cost.cost,
        **{f"{component.value}_energy_j": figure for component, figure in cost.energy_j.items()},
    }
    for name, figure in figures.items():
        if figure is None:
            continue
        for end, value in (("", figure.value), ("_low", figure.low), ("_high", figure.high)):
            metrics.append({"key": f"joulewise/{name}{end}", "value": value, "timestamp": end_ms, "step": 0})
        tags.append({"key": f"joulewise.{name}.basis", "value": figure.basis.word})
    series = account.power_series
    step = max(1, len(series.t_s) // 300)
    for component, watts in series.watts.items():
        metrics += [
            {
                "key": f"system/{component}_power_w",
                "value": w,
                "timestamp": start_ms + round(1000 * t),
                "step": at,
            }
            for at, (t, w) in enumerate(zip(series.t_s, watts, strict=True))
            if w is not None and at % step == 0
        ]
    return metrics, tags
