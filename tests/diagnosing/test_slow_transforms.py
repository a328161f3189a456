from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.vocabulary.observed import FileRead, LoaderView, Phase, PhaseTotal
from tests.diagnosing.views import causes, found, phases, view

LOADER = LoaderView(
    dataset="Photos", items=6000, batch_size=64, workers=0, shuffle=True, evaluates=False, persistent=False,
    pin_memory=False, passes=5, batches=470, wait_s=61.0, first_wait_s=0.1, index_s=0.01, fetched=30_000,
    fetch_s=60.0, fetch_cpu_s=60.0, collate_s=0.3, compared_items=64, same_items=64,
)  # fmt: skip


def trainer(loader=LOADER, **fields):
    told = {
        "steps": 470,
        "epochs": 5,
        "samples": 30_000,
        "batch_sizes": {64: 470},
        "phases": phases(data=61.0, forward=10.0, backward=20.0, optimiser=5.0),
        "loaders": (loader,),
    }
    return view(**{**told, **fields})


def test_made_once():
    """Four of five epochs' items are saved, down to the price of handing them out."""
    finding = found(trainer())[0]

    assert finding.cause == "slow_transforms"
    assert finding.saving.cpu_s.value == pytest.approx(24_000 * (59.7 / 30_000 - 3e-6))
    assert "5.0 times" in finding.evidence
    assert finding.risk.startswith("none")


@pytest.mark.parametrize(
    "change",
    [
        {"same_items": 0},  # random augmentation
        {"same_items": 60},
        {"compared_items": 0, "same_items": 0},
        {"in_memory": True},
        {"fetched": 6000, "passes": 1},  # one epoch
        {"items": None},  # a stream
        {"fetch_s": 0.5, "fetch_cpu_s": 0.5},  # ready items
    ],
)
def test_healthy(change):
    """Items that differ, come once, lie ready or were not compared accuse nobody."""
    assert causes(trainer(replace(LOADER, **change))) == []


def test_too_large_to_keep():
    """Items that would not fit into half of the memory are not to be kept."""
    data = PhaseTotal(Phase.DATA, 470, 61.0, 61.0, bytes=30_000 * 2_000_000)
    assert causes(trainer(phases=(data,))) == []


def test_files_opened_again():
    """Where each item opens its file again, the cause is reading."""
    files = tuple(FileRead(f"/data/{n}.png", 5, 10_000) for n in range(6000))
    finding = found(trainer(files=files))[0]

    assert finding.cause == "rereading_input"
    assert "24000 files were opened again" in finding.evidence


def test_data_set_that_keeps_its_items():
    """Where the first pass paid for all items, the later ones cost nothing that could be saved; where it did not, they count."""
    kept = replace(LOADER, first_pass=(6000, 59.9, 59.9, 0.06))
    cold = replace(LOADER, first_pass=(6000, 20.0, 20.0, 0.06))  # slower only since its files were cold

    assert causes(trainer(kept)) == []
    assert found(trainer(cold))[0].saving.cpu_s.value == pytest.approx(24_000 * (39.76 / 24_000 - 3e-6))


def test_already_kept():
    """Items that `run --with cache` keeps are made once, however often they are handed out."""
    kept = ("cache: Photos: 6000 items kept in memory (9 MB)",)
    assert causes(trainer(changed=kept)) == []
    assert causes(trainer(replace(LOADER, dataset="Sounds"), changed=kept)) == ["slow_transforms"]
