"""Several recordings together never count a device twice."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from joulewise.catalogue.place import place
from joulewise.measuring.accounting import account
from joulewise.measuring.reconciling import reconcile
from joulewise.testing.meters import device
from joulewise.testing.recordings import recording
from joulewise.vocabulary.recording import Component

START = datetime(2026, 11, 23, 8, tzinfo=UTC)
GPU = device("nvml:0", Component.GPU, uuid="GPU-1")


def accounts(*offsets_s: float, **changes: Any):
    return [
        account(
            dataclasses.replace(
                recording([GPU], watts={GPU.id: 100.0}, seconds=10, gpu_share=1.0),
                run_id=f"run-{n}",
                started_utc=START + timedelta(seconds=offset),
                **changes,
            ),
            place(),
        )
        for n, offset in enumerate(offsets_s)
    ]


def test_two_recorders_at_once():
    """Two recordings of one GPU over the same ten seconds are ten seconds of that GPU."""
    together = reconcile(accounts(0.0, 0.0))

    assert together.machine_j.value == pytest.approx(1000.0)
    assert together.overlapping == (GPU.id,)


def test_half_overlap():
    """Where recordings overlap by half, the device counts for the time that either covers."""
    together = reconcile(accounts(0.0, 5.0))

    assert together.machine_j.value == pytest.approx(1500.0)


def test_one_after_the_other():
    """Recordings that do not overlap add up."""
    together = reconcile(accounts(0.0, 20.0))

    assert together.machine_j.value == pytest.approx(2000.0)
    assert together.overlapping == ()


def test_other_devices_add():
    """Equal ids on different devices (by uuid) are different devices."""
    other = dataclasses.replace(GPU, uuid="GPU-2")
    first = account(recording([GPU], watts={GPU.id: 100.0}, seconds=10, gpu_share=1.0), place())
    second = account(recording([other], watts={other.id: 100.0}, seconds=10, gpu_share=1.0), place())

    assert reconcile([first, second]).machine_j.value == pytest.approx(2000.0)


def test_run_inside_a_run():
    """A recording made inside another's work is part of it and adds nothing."""
    outer, inner = accounts(0.0, 2.0)
    inner = dataclasses.replace(
        inner, recording=dataclasses.replace(inner.recording, metadata={"inside_run": "run-0"})
    )

    together = reconcile([outer, inner])

    assert together.inside == ("run-1",)
    assert together.footprint.total_j == outer.footprint.total_j


def test_nothing_is_unknown():
    """Of no recordings nothing can be said."""
    with pytest.raises(ValueError, match="nothing to add up"):
        reconcile([])
