from __future__ import annotations

from dataclasses import replace

from tests.diagnosing.test_slow_transforms import LOADER
from tests.diagnosing.views import causes, phases, view

STEPS = phases(forward=20.0, backward=20.0, optimiser=20.0)


def run(making_s: float, used_s: float, wait_s: float, **options):
    loader = replace(
        LOADER,
        workers=4,
        fetch_s=making_s,
        fetch_cpu_s=making_s,
        wait_s=wait_s,
        first_wait_s=wait_s / 2,
        same_items=0,
    )
    main = view(steps=470, loaders=(loader,), phases=STEPS, cpu_s=100.0 - used_s)
    workers = [
        view(process=f"w{n}", pid=10 + n, parent_pid=1, kind="fork", cpu_s=used_s / 4) for n in range(4)
    ]
    return causes(main, *workers, **options)


def test_for_next_to_nothing():
    """Workers that cost far more than the items they make are a waste."""
    assert run(making_s=2.0, used_s=30.0, wait_s=20.0) == ["too_many_loader_workers"]


def test_real_work():
    """Workers that make items all the time are none."""
    assert run(making_s=39.0, used_s=40.0, wait_s=2.0) == []


def test_longer_without():
    """Where the loop alone would last longer by more than 5 %, it is said only if slower is allowed."""
    assert run(making_s=20.0, used_s=40.0, wait_s=2.0) == []
    assert run(making_s=20.0, used_s=40.0, wait_s=2.0, allow_slower=True) == ["too_many_loader_workers"]


def test_starved_workers():
    """A loop that waited for workers which got no CPU is not told to do without them."""
    assert run(making_s=20.0, used_s=22.0, wait_s=60.0) == []
