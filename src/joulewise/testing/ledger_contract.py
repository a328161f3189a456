"""What every store of the ledger promises, as a test class to inherit: give it a fixture `store`."""

# ruff: noqa: S101 - assertions are what a contract is made of

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from joulewise.ledger.files import RecordingFile, boot_id, new_run_id, process_start, run_folder
from joulewise.ledger.index import find_run, list_runs
from joulewise.ledger.months import Filter, stretches, sums, work
from joulewise.ledger.pots import Pot, Spending, list_pots
from joulewise.ledger.refreshing import rebuild, refresh
from joulewise.ledger.store import Store, upsert
from joulewise.ledger.summary import Summary
from joulewise.ledger.wastes import split, waiting
from joulewise.ledger.wastes import write as write_wastes
from joulewise.vocabulary.errors import LedgerError, UsageError
from joulewise.vocabulary.figures import Basis, Boundary, Figure
from joulewise.vocabulary.recording import Recording
from joulewise.vocabulary.waste import Part, Waste

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def write_recording(
    runs: Path,
    name: str = "digits",
    *,
    at: datetime = START,
    end: str | None = "finished",
    host: str = "elsewhere",
    meta: Mapping[str, Any] | None = None,
    length_s: float = 120.0,
    values: Mapping[str, Any] | None = None,
    role: str = "run",
    params: Mapping[str, Any] | None = None,
) -> Path:
    """Write a small recording of two minutes at 50 W under `runs` and return its folder; `values` are its last point."""
    run_id = new_run_id(name, at)
    folder = run_folder(runs, run_id)
    file = RecordingFile(folder, f"run-{host}-4711.jsonl")
    file.append("head", format=1, run=run_id, name=name, role=role, host=host, boot=boot_id(), pid=4711,
                pid_start=process_start(4711), utc=at.isoformat(), mono=100.0, interval_s=1.0, command=["train", name])  # fmt: skip
    machine = {"host": host, "cpus": 2, "owned_cpus": 2.0, "memory_bytes": 8 * 10**9, "owned_memory_bytes": None,
               "cpu_model": "Test CPU"}  # fmt: skip
    file.append("machine", machine=machine)
    if meta is not None:
        file.append("meta", meta=dict(meta))
    if params is not None:
        file.append("params", params=dict(params))
    device = {"id": "rapl:0", "component": "cpu", "meter": "rapl", "basis": 0, "boundary": "device",
              "error_low": 0.05, "error_high": 0.05, "source": "test"}  # fmt: skip
    file.append("devices", devices=[device])
    file.append("columns", devices=["rapl:0"], counters=["work_cpu_s", "busy_cpu_s"], gauges=[])
    for second in (0.0, length_s / 2, length_s):
        file.append("tick", t=second, j=[50.0 * second], c=[second, second], g=[])
    file.append("point", t=length_s - 1, values=dict(values or {"epoch": 3, "loss": 0.25}))
    if end is not None:
        file.append("end", state=end, t=length_s, exit_code=0 if end == "finished" else 1, reason="")
    file.close()
    return folder


def summarise(recording: Recording) -> Summary:
    """Return a plain summary: all joules are the work's."""
    columns = [[j for j in column if j is not None] for column in recording.ticks.energy_j.values()]
    joules = sum(c[-1] for c in columns if c)
    return Summary(
        run_id=recording.run_id,
        name=recording.name,
        host=recording.machine.host,
        role=recording.role,
        started_utc=recording.started_utc,
        duration_s=recording.duration_s,
        state=recording.end.state,
        exit_code=recording.end.exit_code,
        energy_j=Figure(joules, joules * 0.9, joules * 1.2, Basis.MEASURED, boundary=Boundary.DEVICE),
        components_j={"cpu": joules},
        command=" ".join(recording.command),
        tags=dict(recording.metadata),
        params=dict(recording.params),
        points=len(recording.points),
        last_point=dict(recording.points[-1].values) if recording.points else {},
        damage=len(recording.damage),
    )


class StoreContract:
    """Inherit it and define the fixture `store`, a fresh ledger."""

    def test_values_come_back(self, store: Store) -> None:
        """Text of any language, quotes, JSON, large integers, fractions and the unknown come back as they went in."""
        columns = ("root", "run_id", "day", "why", "size_bytes", "mtime_ns")
        row = dict(
            zip(columns, ("/r", "é漢🙂", "2026-03-01", 'it\'s "why"; -- %s :x ::', 2**60, -1), strict=True)
        )

        store.execute(upsert("damaged", columns, columns[:2]), row)

        assert store.query("SELECT * FROM damaged WHERE run_id = :run_id", {"run_id": "é漢🙂"}) == [row]

    def test_unknown_is_not_zero(self, store: Store) -> None:
        """An unknown number comes back as None, and zero as zero."""
        pot = Pot(store, "p")
        pot.join({})
        pot.spend("a", Spending(energy_j=0.0, carbon_g=None))

        assert pot.spent().spent == Spending(energy_j=0.0)

    def test_upsert_replaces(self, store: Store) -> None:
        """Writing a row of the same key again replaces it, and counts one row each time."""
        sql = upsert("shards", ("root", "day", "mtime_ns", "scanned_ns"), ("root", "day"))
        for time_ns in (1, 2):
            assert store.execute(sql, {"root": "/r", "day": "d", "mtime_ns": time_ns, "scanned_ns": 0}) == 1

        assert [r["mtime_ns"] for r in store.query("SELECT mtime_ns FROM shards")] == [2]

    def test_many_rows(self, store: Store) -> None:
        """One statement takes many rows."""
        columns = ("run_id", "minute", "component", "mean_w")
        rows = [{"run_id": "a", "minute": m, "component": "cpu", "mean_w": m / 3} for m in range(500)]
        store.execute(upsert("minutes", columns, columns[:3]), *rows)

        assert store.query("SELECT COUNT(*) AS count FROM minutes")[0]["count"] == 500

    def test_transaction_holds_all_or_none(self, store: Store) -> None:
        """An exception inside a transaction undoes all of it, the inner ones that joined it too."""

        def fail() -> None:
            with store.transaction():
                store.execute("INSERT INTO pots (name, limits, created_utc) VALUES ('a', '{}', '')")
                with store.transaction():
                    store.execute("INSERT INTO pots (name, limits, created_utc) VALUES ('b', '{}', '')")
                raise KeyError("stop")

        with pytest.raises(KeyError):
            fail()
        with store.transaction():
            store.execute("INSERT INTO pots (name, limits, created_utc) VALUES ('c', '{}', '')")

        assert [r["name"] for r in store.query("SELECT name FROM pots")] == ["c"]

    def test_wrong_statement_is_one_line(self, store: Store) -> None:
        """A statement that the database refuses raises LedgerError in one line, and the next one works."""
        with pytest.raises(LedgerError) as refused:
            store.query("SELECT * FROM nothing_of_this_name")

        assert "\n" not in str(refused.value)
        assert store.query("SELECT 1 AS one") == [{"one": 1}]

    def test_text_sorts_by_byte(self, store: Store) -> None:
        """Text is ordered byte by byte in every store, so that prefixes are ranges."""
        for name in ("b", "B", "a-b", "ab", "é"):
            Pot(store, name).join({})

        assert [r["name"] for r in store.query("SELECT name FROM pots ORDER BY name")] == [
            "B",
            "a-b",
            "ab",
            "b",
            "é",
        ]

    def test_close_twice(self, store: Store) -> None:
        """Closing a closed store is fine."""
        store.close()
        store.close()

    def test_index(self, store: Store, tmp_path: Path) -> None:
        """Recordings are found, listed newest first, filtered, counted in minutes and forgotten with their folder."""
        old = write_recording(tmp_path, "digits", at=START)
        new = write_recording(tmp_path, "resnet-50", at=START + timedelta(days=2), end="failed")

        assert refresh(store, tmp_path, summarise).new == 2
        assert refresh(store, tmp_path, summarise).new == 0
        assert [s.run_id for s in list_runs(store)] == [new.name, old.name]
        assert [s.name for s in list_runs(store, text="TRAIN DIG")] == ["digits"]
        assert [s.name for s in list_runs(store, text="100%")] == []
        assert [s.name for s in list_runs(store, name="res", since=START + timedelta(days=1))] == [
            "resnet-50"
        ]
        assert find_run(store, "latest").folder == str(new)
        assert find_run(store, "digits").energy_j == Figure(6000.0, 5400.0, 7200.0, Basis.MEASURED)
        minutes = store.query(
            "SELECT minute, mean_w FROM minutes WHERE run_id = :id ORDER BY minute", {"id": old.name}
        )
        assert minutes == [{"minute": 0, "mean_w": 50.0}, {"minute": 1, "mean_w": 50.0}]
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
        assert refresh(store, tmp_path, summarise).forgotten == 1
        assert store.query("SELECT * FROM minutes WHERE run_id = :id", {"id": old.name}) == []

    def test_rebuild_keeps_pots(self, store: Store, tmp_path: Path) -> None:
        """Rebuilding reads all recordings anew and leaves the pots alone."""
        write_recording(tmp_path)
        refresh(store, tmp_path, summarise)
        pot = Pot(store, "sweep")
        pot.join({"energy_j": 2e6})
        pot.spend("run", Spending(energy_j=10.0))

        assert rebuild(store, tmp_path, summarise).new == 1
        assert len(list_runs(store)) == 1
        assert pot.spent().spent.energy_j == 10.0

    def test_months_and_wastes(self, store: Store, tmp_path: Path) -> None:
        """What recordings used is summed by month, what they wasted divides it, and search knows no case."""
        for name, samples in (("A%b", 100), ("other", 300)):
            write_recording(tmp_path / "runs", name, values={"samples": samples}, length_s=7200.0)
        refresh(store, tmp_path / "runs", summarise)
        months = Filter("2026-03", "2026-03")
        (total,) = sums(store, "host", months)
        assert total.energy_j is not None
        assert (total.key, total.month, total.runs, total.unknown) == ("elsewhere", "2026-03", 2, 0)
        assert total.energy_j.value == pytest.approx(2 * 7200 * 50)
        assert len(stretches(store, "month", months, [""])) == 2
        assert work(store, months, "samples")["2026-03"][1] == 400

        half = {Waste.OVER_TRAINING: Part(0.5, 0.4, 0.6), None: Part(0.5, 0.4, 0.6)}
        first, second = waiting(store, months, 10)
        write_wastes(store, {first: half, second: None})
        seen = split(store, months)
        assert seen.wastes[Waste.OVER_TRAINING].share == pytest.approx(0.25)
        assert (seen.none.share, seen.unseen, seen.waiting) == pytest.approx((0.25, 0.5, 0.0))

        assert [s.name for s in list_runs(store, text="a%B")] == ["A%b"]
        assert [s.name for s in list_runs(store, text="OTHER")] == ["other"]

    def test_pots(self, store: Store) -> None:
        """Spending is cumulative by run, said twice it counts once, and other limits are refused."""
        pot = Pot(store, "sweep")
        pot.join({"energy_j": 2e6, "trials": 20})
        pot.join({"trials": 20, "energy_j": 2000000})
        for _ in range(2):
            pot.spend("a", Spending(energy_j=100.0, time_s=3.0, trials=1))
        pot.spend("b", Spending(energy_j=50.5, time_s=2.0), ended=True)

        assert pot.spent().spent == Spending(energy_j=150.5, time_s=5.0, trials=1)
        assert pot.spent().incomplete == ("carbon_g", "cost", "trials")
        assert [m.run_id for m in pot.members()] == ["a", "b"]
        assert [p.name for p in list_pots(store)] == ["sweep"]
        with pytest.raises(UsageError, match=r"has the limits energy_j 2e.06, trials 20, not energy_j 3"):
            pot.join({"energy_j": 3})
