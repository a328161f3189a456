"""`joulewise prune` deletes the recordings that are meant, and nothing else."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from joulewise import wiring
from joulewise.cli.prune import command, delete, look, select
from joulewise.ledger.files import boot_id, encode, new_run_id, process_start, run_folder
from joulewise.ledger.index import list_runs
from joulewise.vocabulary.errors import UsageError


@pytest.fixture
def runs(home):
    return Path(home) / "runs"


def make(runs, name, days_ago, *, pid=0, ended=True, quiet=True):
    """Write a small recording that began some days ago; by default its process is gone."""
    start = datetime.now(UTC) - timedelta(days=days_ago)
    run_id = new_run_id(name, start)
    folder = run_folder(runs, run_id)
    folder.mkdir(parents=True)
    head = {
        "k": "head",
        "format": 1,
        "run": run_id,
        "name": name,
        "role": "run",
        "host": os.uname().nodename,
        "boot": boot_id(),
        "pid": pid or 4_000_000,
        "pid_start": process_start(pid) if pid else 1,
        "root_pid": pid or 4_000_000,
        "root_start": 1,
        "utc": start.isoformat(),
        "mono": 0.0,
        "interval_s": 1.0,
        "command": ["true"],
    }
    file = folder / "run-host-1.jsonl"
    file.write_bytes(encode(head) + (encode({"k": "end", "state": "finished", "t": 1.0}) if ended else b""))
    if quiet:
        os.utime(file, (start.timestamp(), start.timestamp()))
    return folder


def pruned(*arguments, code=0, text=None):
    result = CliRunner().invoke(command, [*arguments, "--json"], input=text, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_old_ones_go(runs):
    """What began longer ago goes, its day's folder with it; the rest stays, and the bytes are those of the files."""
    old, new = make(runs, "a", 100), make(runs, "b", 1)
    size = (old / "run-host-1.jsonl").stat().st_size

    answer = pruned("--older-than", "90d", "--yes")

    assert answer["deleted"] == [old.name]
    assert answer["bytes_freed"] == size
    assert not old.parent.exists()
    assert new.is_dir()


def test_ledger_forgets_them(runs):
    """What is deleted is no longer listed."""
    make(runs, "a", 100)
    kept = make(runs, "b", 1)
    wiring.refresh().close()

    pruned("--older-than", "90d", "--yes")

    ledger = wiring.store()
    assert [row.run_id for row in list_runs(ledger)] == [kept.name]
    ledger.close()


def test_newest_are_kept(runs):
    """With --keep the newest stay, of that name only."""
    digits = [make(runs, "digits", days) for days in (5, 4, 3)]
    other = make(runs, "other", 9)

    answer = pruned("--keep", "2", "--name", "digits", "--yes")

    assert answer["deleted"] == [digits[0].name]
    assert other.is_dir()


def test_pattern(runs):
    """A name may be a pattern, and means whole names."""
    gone, stays = make(runs, "sweep-1", 2), make(runs, "my-sweep-1", 2)

    pruned("--name", "sweep-*", "--yes")

    assert (gone.exists(), stays.exists()) == (False, True)


def test_both_must_hold(runs):
    """Of several conditions all must hold."""
    found = [one for days in (1, 50, 100) if (one := look(str(make(runs, "a", days))))]
    assert len(found) == 3

    def names(age_s, keep):
        now_s = datetime.now(UTC).timestamp()
        return [found.index(one) for one in select(found, now_s, age_s, keep, None)]

    assert names(30 * 86400.0, None) == [2, 1]
    assert names(30 * 86400.0, 2) == [2]
    assert names(None, 3) == []
    assert names(None, 0) == [2, 1, 0]


def test_dry_run(runs):
    """A dry run says what would go and deletes nothing."""
    old = make(runs, "a", 100)

    answer = pruned("--older-than", "90d", "--dry-run")

    assert [one["run_id"] for one in answer["chosen"]] == [old.name]
    assert (answer["deleted"], answer["bytes_freed"]) == ([], 0)
    assert old.is_dir()


def test_asks(runs):
    """Without --yes the user is asked; no means no, and no answer is an error that says what to write."""
    old = make(runs, "a", 100)

    assert pruned("--older-than", "90d", text="n\n")["deleted"] == []
    silent = CliRunner().invoke(command, ["--older-than", "90d"], input="")
    assert isinstance(silent.exception, UsageError)
    assert "--yes" in str(silent.exception)
    assert old.is_dir()

    assert pruned("--older-than", "90d", text="y\n")["deleted"] == [old.name]


def test_running_ones_stay(runs):
    """A recording whose recorder lives, or that was written to just now without an end, stays."""
    alive = make(runs, "alive", 100, pid=os.getpid(), ended=False)
    written = make(runs, "elsewhere", 100, ended=False, quiet=False)

    answer = pruned("--keep", "0", "--yes")

    assert answer["deleted"] == []
    assert {one["run_id"]: one["why"] for one in answer["kept"]} == {
        alive.name: "still running",
        written.name: "still running",
    }
    assert alive.is_dir()
    assert written.is_dir()


def test_ended_ones_of_a_living_process_go(runs):
    """What a notebook has recorded and ended may go while the notebook lives; what it has open stays."""
    over, still = (
        make(runs, "over", 100, pid=os.getpid()),
        make(runs, "still", 100, pid=os.getpid(), ended=False),
    )

    assert pruned("--keep", "0", "--yes")["deleted"] == [over.name]
    assert still.is_dir()


def test_lost_ones_go(runs):
    """A recording without an end whose recorder was killed long ago is old like any other."""
    lost = make(runs, "lost", 100, ended=False)

    assert pruned("--keep", "0", "--yes")["deleted"] == [lost.name]


def test_foreign_things_stay(runs):
    """Folders and files that are no recordings stay, and a recording that holds the user's own file does, too."""
    mixed = make(runs, "mixed", 100)
    (mixed / "notes.txt").write_text("mine")
    foreign = mixed.parent / "photos"
    foreign.mkdir()
    (foreign / "a.jsonl").write_text('{"k": "head", "utc": "2020-01-01"}\n')
    outside = runs / "models" / "x"
    outside.mkdir(parents=True)
    (outside / "run-a-1.jsonl").write_bytes((mixed / "run-host-1.jsonl").read_bytes())

    answer = pruned("--keep", "0", "--yes")

    assert answer["deleted"] == []
    assert "notes.txt" in answer["kept"][0]["why"]
    assert (mixed / "run-host-1.jsonl").is_file()
    assert (foreign / "a.jsonl").is_file()
    assert (outside / "run-a-1.jsonl").is_file()


def test_links_are_not_followed(runs, tmp_path):
    """A link to a recording, or to a day of them, is not followed; a recording with a linked file stays."""
    real = make(tmp_path / "archive", "archived", 100)
    linked = make(runs, "linked", 100)
    (linked / "track-host-2.jsonl").symlink_to(real / "run-host-1.jsonl")
    (linked.parent / real.name).symlink_to(real)
    (runs / "2020-01-01").symlink_to(real.parent)

    answer = pruned("--keep", "0", "--yes")

    assert answer["deleted"] == []
    assert (real / "run-host-1.jsonl").is_file()
    assert linked.is_dir()


def test_link_put_there_meanwhile(runs, tmp_path):
    """A day that becomes a link between the look and the deletion is not followed either."""
    old = make(runs, "a", 100)
    found = look(str(old))
    assert found is not None
    moved = tmp_path / "moved"
    old.parent.rename(moved)
    (runs / moved.name).parent.mkdir(exist_ok=True)
    old.parent.symlink_to(moved)

    assert delete(str(runs), found) != ""
    assert (moved / old.name / "run-host-1.jsonl").is_file()


def test_says_bytes(runs):
    """The text says how many went, and how much that freed."""
    make(runs, "a", 100)

    output = CliRunner().invoke(command, ["--older-than", "90d", "-y"]).output

    assert "1 recording deleted" in output
    assert " B freed" in output


@pytest.mark.parametrize(
    ("arguments", "words"), [([], "--older-than 90d"), (["--older-than", "soon"], "soon")]
)
def test_bad_input(arguments, words):
    """What was not said, or cannot be read, is one line; nothing is deleted without a condition."""
    error = CliRunner().invoke(command, [*arguments, "--yes"]).exception

    assert isinstance(error, UsageError)
    assert words in str(error)


def hour(runs, days_ago=40.0, name="long"):
    """Write a recording of an hour at 50 W, with a tick a second."""
    folder = make(runs, name, days_ago)
    (file,) = folder.iterdir()
    lines = file.read_bytes().splitlines(keepends=True)
    device = {"id": "rapl:0", "component": "cpu", "meter": "rapl", "basis": 0, "boundary": "device",
              "error_low": 0.05, "error_high": 0.05, "source": "test"}  # fmt: skip
    machine = {"host": "h", "cpus": 2, "owned_cpus": 2.0, "memory_bytes": 10**9, "owned_memory_bytes": None}
    ticks: list[dict[str, object]] = [
        {"k": "machine", "machine": machine},
        {"k": "devices", "devices": [device]},
    ]
    ticks.append({"k": "columns", "devices": ["rapl:0"], "counters": ["work_cpu_s", "busy_cpu_s"], "gauges": []})  # fmt: skip
    ticks += [{"k": "tick", "t": float(t), "j": [50.0 * t], "c": [0.5 * t, 1.1 * t], "g": []} for t in range(3600)]  # fmt: skip
    file.write_bytes(lines[0] + b"".join(map(encode, ticks)) + lines[1])
    os.utime(file, (1e9, 1e9))
    return folder


class TestReduce:
    def test_here(self, runs):
        """Old recordings keep one tick a minute, young ones all; the ledger's line stays, and again does nothing."""
        old, young = hour(runs), hour(runs, 1.0, "young")
        ledger = wiring.refresh()
        before = {r.run_id: r for r in list_runs(ledger)}
        ledger.close()
        size = old.stat(), sum(f.stat().st_size for f in old.iterdir())

        dry = pruned("--older-than", "30d", "--reduce", "--dry-run")
        assert dry["reduced"] == []
        told = pruned("--older-than", "30d", "--reduce", "--yes")
        again = pruned("--older-than", "30d", "--reduce", "--yes")

        assert told["reduced"] == [old.name]
        assert told["bytes_freed"] > 0.9 * size[1]
        assert again["bytes_freed"] == 0
        assert sum(f.stat().st_size for f in young.iterdir()) > 100_000
        ledger = wiring.refresh()
        from joulewise.ledger.refreshing import rebuild

        rebuild(ledger, runs, wiring.summarise)
        after = {r.run_id: r for r in list_runs(ledger)}
        ledger.close()
        assert after[old.name].energy_j.value == before[old.name].energy_j.value
        assert after[old.name].machine_j.value == before[old.name].machine_j.value == 50.0 * 3599

    def test_running_stays(self, runs):
        """A recording that still runs is not reduced."""
        make(runs, "now", 40, pid=os.getpid(), ended=False)

        assert pruned("--older-than", "30d", "--reduce", "--yes")["kept"][0]["why"] == "still running"

    def test_leftover(self, runs):
        """What a killed reduction left behind keeps a recording neither from being reduced nor from being deleted."""
        one, other = hour(runs), hour(runs, 50.0, "other")
        for folder in (one, other):
            (folder / ".run-host-1.jsonl.reducing").write_bytes(b"half")
        assert pruned("--name", "long", "--reduce", "--yes")["reduced"] == [one.name]
        assert len(list(one.iterdir())) == 1
        assert pruned("--name", "other", "--yes")["deleted"] == [other.name]
        assert not other.exists()

    @pytest.mark.service
    def test_in_the_ledger(self, runs, postgres_url, monkeypatch):
        """What was pushed is reduced and deleted in the ledger; pushing again sends nothing of it, here nothing changes."""
        from joulewise.ledger import bodies

        folder = hour(runs)
        size = sum(f.stat().st_size for f in folder.iterdir())
        monkeypatch.setenv("JOULEWISE_LEDGER", postgres_url)
        ledger = wiring.team_store()
        wiring.push(ledger)

        told = pruned("--older-than", "30d", "--reduce", "--ledger", "--yes")
        reduced_body = bodies.read_body(ledger, folder.name)
        assert told["reduced"] == [folder.name]
        assert len(reduced_body.ticks.t_s) == 62
        assert reduced_body.ticks.energy_j["rapl:0"][-1] == 50.0 * 3599
        assert sum(f.stat().st_size for f in folder.iterdir()) == size
        ledger.execute("INSERT INTO unsent SELECT root, run_id, day FROM recordings")
        assert wiring.push(ledger) == type(wiring.push(ledger))(0, 0, 0, ())
        assert len(bodies.read_body(ledger, folder.name).ticks.t_s) == 62
        pruned("--older-than", "30d", "--yes")
        assert [r.folder for r in list_runs(ledger)] == [""]
        assert pruned("--older-than", "30d", "--ledger", "--yes")["deleted"] == [folder.name]
        assert list_runs(ledger) == []
        assert bodies.contents(ledger, folder.name) == {}
        ledger.close()


class TestJobs:
    def test_ended_jobs(self, home):
        """Folders of jobs that ended go, those of others stay."""
        from joulewise.launching.folders import write_json

        jobs = wiring.jobs_folder()
        for name, state in (("done", "finished"), ("runs", "running"), ("waits", "")):
            (jobs / name).mkdir()
            write_json(str(jobs / name), "order.json", {"key": name})
            if state:
                write_json(str(jobs / name), "state.json", {"state": state})
            os.utime(jobs / name / "order.json", (1e9, 1e9))
        told = pruned("--older-than", "30d", "--jobs", "--yes")

        assert told["deleted"] == ["done"]
        assert {k["run_id"] for k in told["kept"]} == {"runs", "waits"}
        assert sorted(p.name for p in jobs.iterdir()) == ["runs", "waits"]

    def test_wrong_use(self, joulewise):
        """Two places at once, and ticks of jobs, are one line each."""
        for options, said in ((("--ledger", "--jobs"), "one of them"), (("--jobs", "--reduce"), "no ticks"), (("--ledger",), "a file of this machine")):  # fmt: skip
            done = joulewise("prune", "--older-than", "1d", *options)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1)
            assert said in done.stderr
