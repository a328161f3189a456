"""The one line that the ledger keeps of a recording."""

from __future__ import annotations

import dataclasses

import pytest

from joulewise.measuring.attribution import attribute
from joulewise.measuring.summarising import summary
from joulewise.testing.meters import device
from joulewise.testing.recordings import recording
from joulewise.vocabulary.recording import Component, Point

PACKAGE = device("rapl:package-0")


def test_same_joules_as_the_account():
    """The ledger lists the joules that the account shows."""
    what = recording([PACKAGE], {PACKAGE.id: 50.0}, busy_cpus=2.0)

    line = summary(what)

    assert line.energy_j == attribute(what).work_j
    assert line.machine_j.value == pytest.approx(500.0)
    assert line.components_j == {"cpu": pytest.approx(line.energy_j.value)}


def test_last_values_of_what_was_logged():
    """The last value of each thing that was logged is listed, whichever point it came with."""
    points = [Point(1.0, {"loss": 0.5, "epoch": 1}), Point(2.0, {"accuracy": 0.9}), Point(3.0, {"epoch": 2})]

    line = summary(recording([], {}, points=points))

    assert (line.points, line.last_point) == (3, {"loss": 0.5, "epoch": 2, "accuracy": 0.9})


def test_tags_are_no_parameters():
    """Tags are listed as tags, and parameters as parameters."""
    what = dataclasses.replace(recording([], {}), params={"size": 3, "tags": ["night", "gpu"]})

    line = summary(what)

    assert (dict(line.params or {}), list(line.tags or ())) == ({"size": 3}, ["night", "gpu"])


def test_unknown_component_stays_unknown():
    """A component with a device whose split is not known has no joules, which is not zero."""
    memory = device("memory", Component.MEMORY)
    what = recording([memory], {memory.id: 5.0})
    what = dataclasses.replace(what, machine=dataclasses.replace(what.machine, memory_bytes=None))

    assert summary(what).components_j == {"memory": None}
