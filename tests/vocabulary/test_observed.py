from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from joulewise.testing.recordings import recording
from joulewise.vocabulary.observed import FileRead, LoaderView, Phase, ProcessView, observe
from joulewise.vocabulary.recording import Recording

PAGE: dict[str, Any] = {
    "end_s": 11.0, "ended": True, "cpu_s": 9.0, "open": ["gap", 0.0, 0.0, None], "phases": {}, "beside": {},
    "unsampled": [0, 0.0, 0.0], "sampled": {}, "steps": 0, "samples": 0, "evaluations": 0, "requests": 0, "evaluation": None,
    "optimisers": {}, "batches": [], "loaders": {},
}  # fmt: skip
HEAD = {"pid": 7, "parent": 1, "kind": "main", "start_s": 1.0, "command": ["python", "x.py"]}


def seen(page: dict[str, Any], process: str = "h-7-1", **facts: Any) -> Recording:
    """Return a recording in which one process was seen, with these numbers and facts."""
    return replace(recording([], {}), seen={process: {"head": HEAD, "page": {**PAGE, **page}, **facts}})


def view(page: dict[str, Any], **facts: Any) -> ProcessView:
    (found,) = observe(seen(page, **{k.replace("__", "/"): v for k, v in facts.items()}))
    return found


def walls(found: ProcessView) -> dict[str, float]:
    return {p.phase.value: round(p.wall_s, 6) for p in found.phases}


def test_nothing_seen():
    """A recording without the agent has no views."""
    assert observe(recording([], {})) == ()


def test_phases_add_up():
    """What no phase explains is unknown, so that the phases add up to the process's life."""
    found = view({"phases": {"setup": [0, 2.0, 2.0, 0], "forward": [4, 5.0, 5.0, 0]}})

    assert walls(found) == {"setup": 2.0, "forward": 5.0, "unknown": 3.0}
    assert found.accounted_share == pytest.approx(0.7)
    assert found.phase("forward").calls == 4
    assert found.phase(Phase.LOGGING).wall_s == 0


def test_plain_program():
    """Where nothing known was ever called, the program is no set-up but the work itself."""
    found = view({"phases": {"setup": [0, 10.0, 9.0, 0]}})

    assert walls(found) == {"other": 10.0}
    assert found.unhooked_share == 1.0


def test_validation_without_training():
    """Where nothing is trained, evaluating is the job: it is `forward`."""
    found = view({"phases": {"validation": [50, 10.0, 9.0, 0]}})

    assert walls(found) == {"forward": 10.0}
    assert found.phase("forward").calls == 50


def test_validation_beside_training():
    """Where something is trained, evaluating is validation."""
    assert walls(view({"steps": 3, "phases": {"validation": [50, 10.0, 9.0, 0]}})) == {"validation": 10.0}


def test_untimed_steps_are_shared_out():
    """Steps that were not timed take their time, and their calls, in the proportions of those that were."""
    found = view(
        {"steps": 80, "phases": {"forward": [10, 1.0, 1.0, 0], "backward": [10, 2.0, 2.0, 0]}, "sampled": {"forward": 1.0, "backward": 2.0},
         "unsampled": [70, 7.0, 6.6]}
    )  # fmt: skip

    assert walls(found) == pytest.approx({"forward": 1 + 7 / 3, "backward": 2 + 14 / 3})
    assert found.phase("backward").cpu_s == pytest.approx(2 + 4.4)
    assert found.phase("forward").calls == 80
    assert found.sampled_share == pytest.approx(0.7)


def test_calls_of_untimed_steps():
    """A step that adds up the gradients of four batches goes forward four times, timed or not; one under way is shared out too."""
    found = view(
        {"steps": 80, "phases": {"forward": [40, 1.0, 1.0, 0], "optimiser": [10, 1.0, 1.0, 0]}, "sampled": {"forward": 0.5, "optimiser": 0.5},
         "sampled_calls": {"forward": 4.0}, "unsampled": [70, 7.5, 7.5], "open": ["unsampled", 0.5, 0.5, 0.5]}
    )  # fmt: skip

    assert walls(found) == pytest.approx({"forward": 5.0, "optimiser": 5.0})
    assert (found.phase("forward").calls, found.phase("optimiser").calls) == (320, 80)


def test_idle_after_finish():
    """A pause at the end, after the work, is idle; where nothing had begun it is waiting."""
    work = {"forward": [1, 4.0, 4.0, 0]}

    assert walls(view({"phases": work, "open": ["gap", 6.0, 0.1, 0.1]}))[
        "idle_after_finish"
    ] == pytest.approx(5.9)
    assert "idle_after_finish" not in walls(view({"open": ["gap", 10.0, 0.1, 0.1]}))


def test_polling_thread():
    """CPU time that another thread uses while the main thread sleeps stays with the waiting."""
    found = view({"phases": {"forward": [1, 1.0, 1.0, 0]}, "open": ["gap", 9.0, 8.5, 0.1], "steps": 1})

    assert found.phase(Phase.IDLE).cpu_s == pytest.approx(8.4)


def test_second_thread_takes_from_waiting():
    """What another thread computes in hooked calls while the main thread waits is no waiting."""
    found = view({"phases": {"waiting": [0, 10.0, 3.0, 0]}, "beside": {"forward": [20, 2.0, 2.5]}})

    assert walls(found) == {"forward": 2.0, "waiting": 8.0}
    assert found.phase("waiting").cpu_s == pytest.approx(0.5)


def test_loaders_with_their_workers():
    """What forked workers fetched counts for the loader of their parent, and their fingerprints are compared together."""
    facts = {
        "dataset": "D",
        "items": 100,
        "batch_size": 10,
        "workers": 2,
        "shuffle": True,
        "evaluates": False,
        "persistent": False,
        "pin_memory": False,
    }
    main = {
        "head": HEAD,
        "page": {**PAGE, "loaders": {"0": [2, 20, 3.0, 1.0, 0.1, 0, 0, 0, 0]}},
        "loader/0": facts,
    }
    worker = {
        "head": {**HEAD, "pid": 8, "parent": 7, "kind": "fork"},
        "page": {**PAGE, "loaders": {"0": [0, 0, 0, 0, 0, 100, 5.0, 4.0, 1.0]}},
        "items/0": [[0, "a"], [5, "b"], [0, "a"], [5, "c"]],
    }
    found = observe(replace(recording([], {}), seen={"h-7": main, "h-8": worker}))
    (loader,) = found[0].loaders

    assert (loader.passes, loader.batches, loader.fetched) == (2, 20, 100)
    assert loader.item_s == pytest.approx(0.04)
    assert (loader.compared_items, loader.same_items) == (2, 1)
    assert (found[0].epochs, found[0].dataset_items) == (2, 100)


def test_items_without_a_loader():
    """Without a loader the data set is what went through in one epoch."""
    found = view({"steps": 30, "samples": 3000, "batches": [[100, 30]]}, epochs=3)

    assert (found.epochs, found.dataset_items, found.batch_sizes) == (3, 1000, {100: 30})


def test_open_evaluation_and_threads():
    """An evaluation that was going on at the end, and those of other threads, are in the list; threads answer requests."""
    found = view(
        {"steps": 5, "evaluations": 2, "evaluation": [9.0, 5, 3, 30, 1.0, 0.9]},
        evaluations=[[4.0, 2, 10, 100, 2.0, 2.0, "x.py:f", ""]], evaluating="x.py:g", thread__0=[2.0, 0, 7, 7, 5.0, 0.1, "x.py:serve", "worker"],
    )  # fmt: skip

    assert [(e.step, e.batches, e.where) for e in found.evaluations] == [
        (2, 10, "x.py:f"),
        (5, 3, "x.py:g"),
        (0, 7, "x.py:serve"),
    ]
    assert found.requests == 7
    assert found.evaluations[0].batch_size == 10


def test_facts():
    """Optimisers, the curve, files, versions and fingerprints are told as they were seen."""
    found = view(
        {"steps": 4, "optimisers": {"0": 4}},
        optimiser__0={"name": "Adam", "parameters": 10}, rates__0=[[0, 0.1], [2, 0.05]], curve=[[2.0, 1, 0.0, {"loss": 3.0}]],
        file__0=["/d", 3, 10], framework__torch="2.0", data=["b", "a"], jobs=[1, 4], prints={"code": "c", "arguments": "d"},
    )  # fmt: skip

    assert (found.optimisers[0].name, found.optimisers[0].steps, found.optimisers[0].rates) == (
        "Adam",
        4,
        ((0, 0.1), (2, 0.05)),
    )
    assert found.curve[0].values == {"loss": 3.0}
    assert found.files == (FileRead("/d", 3, 10),)
    assert found.files[0].again_bytes == 20
    assert found.frameworks == ("torch 2.0",)
    assert (found.code, found.arguments, found.threads.joblib) == ("c", "d", 4)
    assert found.data == view({}, data=["a", "b", "a"]).data != ""


def test_item_that_was_never_timed():
    """Without a timed item there is no time of an item."""
    assert LoaderView("D", 1, 1, 0, False, False, False, False, 1, 1, 0.0, 0.0, 0.0).item_s is None
