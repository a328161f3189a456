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
