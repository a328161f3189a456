"""`joulewise runs --jobs`: the recordings of many nodes as the jobs that they are, each device counted once."""

from __future__ import annotations

from collections.abc import Iterator

from joulewise import wiring
from joulewise.cli.output import (
    UNKNOWN,
    echo,
    echo_json,
    figure_fields,
    figure_text,
    local_time,
    plain,
    table,
)
from joulewise.ledger.groups import Group, groups
from joulewise.ledger.store import Store
from joulewise.measuring.reconciling import Reconciled, reconcile
from joulewise.vocabulary.errors import RecordingError
from joulewise.vocabulary.quantities import format_duration


def show(text: str | None, limit: int, *, as_json: bool) -> None:
    """Print the jobs that began last."""
    ledger = wiring.refresh()
    try:
        jobs = [(group, _together(ledger, group)) for group in groups(ledger, text=text or "", limit=limit)]
    finally:
        ledger.close()
    if as_json:
        echo_json({"jobs": [_fields(group, both) for group, both in jobs]})
        return
    if not jobs:
        echo(
            "no recording is part of a job: Slurm, torchrun, MPI, or the variable JOULEWISE_JOB say which it is"
        )
        return
    echo(
        table(
            [_row(group, both) for group, both in jobs],
            ("started", "job", "state", "hosts", "runs", "time", "work", "devices, each once"),
            right=(3, 4, 5, 6, 7),
        )
    )
    for group, both in jobs:
        for line in _remarks(both):
            echo(f"{plain(group.job)}: {line}")


def _together(ledger: Store, group: Group) -> Reconciled | None:
    """Return a job's recordings as one; None where one of them cannot be read from here."""
    try:
        return reconcile([wiring.account(wiring.open_recording(ledger, run)) for run in group.runs])
    except RecordingError:
        return None


def _row(group: Group, both: Reconciled | None) -> list[str]:
    return [
        local_time(group.started_utc),
        plain(group.job, 40),
        group.state.value,
        str(len(group.hosts)),
        str(len(group.runs)),
        format_duration(group.duration_s),
        UNKNOWN if both is None else figure_text(both.footprint.device_j, "J"),
        UNKNOWN if both is None else figure_text(both.machine_j, "J"),
    ]


def _remarks(both: Reconciled | None) -> Iterator[str]:
    if both is None:
        yield "a recording of it is on another machine and was not pushed"
        return
    if both.overlapping:
        yield f"seen by several recordings, counted once: {', '.join(plain(d, 40) for d in both.overlapping)}"
    if both.inside:
        yield f"part of another recording, not added: {', '.join(both.inside)}"


def _fields(group: Group, both: Reconciled | None) -> dict[str, object]:
    return {
        "job": group.job,
        "started_utc": group.started_utc.isoformat(),
        "duration_s": group.duration_s,
        "state": group.state.value,
        "hosts": list(group.hosts),
        "runs": [run.run_id for run in group.runs],
        "work_j": figure_fields(both.footprint.device_j) if both else None,
        "machine_j": figure_fields(both.machine_j) if both else None,
        "counted_once": list(both.overlapping) if both else None,
        "inside": list(both.inside) if both else None,
    }
