from __future__ import annotations

import pytest

from joulewise.diagnosing.rereading_input import rate
from joulewise.vocabulary.observed import FileRead
from tests.diagnosing.test_slow_transforms import LOADER
from tests.diagnosing.views import causes, found, phases, view

STEPS = phases(setup=5.0, forward=20.0, backward=20.0, optimiser=15.0, other=40.0)
TABLE = FileRead("data/train.csv", 21, 50_000_000)


def reader(*files, **fields):
    return view(**{"steps": 1000, "epochs": 20, "phases": STEPS, "files": files, **fields})


def test_read_for_every_epoch():
    """A table that is parsed again for each of twenty epochs is read once; its price is that of its format."""
    finding = found(reader(TABLE))[0]

    assert finding.cause == "rereading_input"
    assert finding.saving.cpu_s.value == pytest.approx(20 * 50e6 / 50e6)
    assert "opened 21 times" in finding.evidence


def test_no_more_than_the_programs_own_time():
    """However large the file is, no more is claimed than what the program's own code took."""
    finding = found(reader(FileRead("train.csv.gz", 101, 100_000_000)))[0]
    assert finding.saving.cpu_s.value == pytest.approx(0.9 * 40)


@pytest.mark.parametrize(
    "files",
    [
        (FileRead("data/train.csv", 1, 500_000_000),),
        (FileRead("data/train.csv", 2, 500_000_000),),
        (FileRead("config.yaml", 1000, 2000),),
        (FileRead("data/train.bin", 3, 10_000_000_000),),
    ],
)
def test_left_alone(files):
    """Files that are read once or twice, small ones, and what would not fit into memory."""
    assert causes(reader(*files)) == []


def test_items_of_a_loader():
    """A loader's items that read their files are judged with their items."""
    ready = LOADER.__class__(**{n: getattr(LOADER, n) for n in LOADER.__slots__} | {"same_items": 0})
    assert "rereading_input" not in causes(reader(TABLE, loaders=(ready,)))


def test_rates():
    """Formats are told by their names, capitals or not."""
    assert rate("A.CSV") == 50e6
    assert rate("train-images-idx3-ubyte.gz") == 60e6
    assert rate("weights") == 2e9
