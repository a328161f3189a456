"""What another tool recorded becomes a recording: its joules as told, once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from joulewise.catalogue.place import place
from joulewise.exchange.imported import Imported, keep
from joulewise.ledger.files import read_recording, run_folder
from joulewise.measuring.accounting import account
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis
from joulewise.vocabulary.recording import Component, EndState

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(**changes) -> Imported:
    told = {
        "tool": "codecarbon",
        "name": "real",
        "started_utc": AT,
        "duration_s": 60.0,
        "energy_j": {Component.CPU: 600.0, Component.GPU: 3000.0},
    }
    return Imported(**{**told, **changes})


def test_joules_as_told(tmp_path):
    """All joules that the tool told are the work's, with a modelled interval and the tool as source."""
    run_id = keep(tmp_path, record(machine={"cpu_model": "Test CPU", "cpus": 4}, values={"accuracy": 0.5}))
    assert run_id is not None
    made = read_recording(run_folder(tmp_path, run_id))
    found = account(made, place("DE"))
    work = {d.device.component: d.work_j for d in found.devices}

    assert (made.role, made.end.state, made.duration_s, made.machine.cpus) == (
        "import",
        EndState.FINISHED,
        60.0,
        4,
    )
    assert work[Component.CPU].value == 600.0
    assert work[Component.GPU].value == 3000.0
    assert (work[Component.CPU].low, work[Component.CPU].high) == pytest.approx((360.0, 840.0))
    assert work[Component.CPU].basis is Basis.MODELLED
    assert "codecarbon" in work[Component.CPU].source
    assert made.points[0].values == {"accuracy": 0.5}


def test_once(tmp_path):
    """The same record again makes no second recording; another does."""
    assert keep(tmp_path, record()) is not None
    assert keep(tmp_path, record()) is None
    assert keep(tmp_path, record(energy_j={Component.CPU: 601.0})) is not None


def test_measured(tmp_path):
    """What came from a counter has a counter's interval; a failed job is failed."""
    run_id = keep(tmp_path, record(measured=frozenset({Component.CPU}), failed=True))
    made = read_recording(run_folder(tmp_path, str(run_id)))
    (cpu,) = [d for d in made.devices if d.component is Component.CPU]
    assert (cpu.basis, cpu.error_low) == (Basis.MEASURED, 0.05)
    assert made.end.state is EndState.FAILED


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"started_utc": datetime(2026, 3, 1)}, "without a time zone"),
        ({"duration_s": -1.0}, "must have taken 0 or more"),
        ({"energy_j": {Component.CPU: float("nan")}}, "must have used 0 or more"),
    ],
)
def test_refused(changes, said):
    """Times and joules that cannot be are refused."""
    with pytest.raises(UsageError, match=said):
        record(**changes)
