"""What a recording says about itself without being asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from joulewise.measuring import metadata


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--lr", "0.1", "train.py"], ["--lr", "0.1", "train.py"]),
        (["--api-key", "abc123"], ["--api-key", "***"]),
        (["--token=abc"], ["--token=***"]),
        (["DB_PASSWORD=hunter2"], ["DB_PASSWORD=***"]),
        (["postgresql://me:hunter2@db/x"], ["postgresql://me:***@db/x"]),
        (["hf_abcdefghijklmnopqrst"], ["***"]),
        (["--use-auth", "--lr", "3"], ["--use-auth", "--lr", "3"]),
    ],
)
def test_redacted(arguments, shown):
    """What looks like a secret is not written down; what does not, is."""
    assert metadata.redacted(arguments) == shown


def test_git(tmp_path):
    """The revision is told, and whether files differ from it."""

    def git(*words):
        subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *words],
            check=True,
            capture_output=True,
        )

    git("init", "-b", "main")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "one")
    clean = metadata.git(str(tmp_path))
    (tmp_path / "a").write_text("2")

    assert len(clean["git_revision"]) == 40
    assert (clean["git_branch"], clean["git_dirty"]) == ("main", False)
    assert metadata.git(str(tmp_path))["git_dirty"] is True


def test_no_repository(tmp_path):
    """Outside a repository nothing is said about git."""
    assert metadata.git(str(tmp_path)) == {}


def test_versions_of_the_programs_python():
    """The versions are those of the program's interpreter, read without importing anything."""
    facts = metadata.python([sys.executable, "train.py"], {"PATH": ""})

    assert facts["python_version"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")


def test_not_a_python():
    """Of a program that is no Python, no Python version is told."""
    assert metadata.python(["/bin/sh", "-c", "true"], {"PATH": "/bin"}) == {}
    assert metadata.python(["no-such-program"], {"PATH": "/bin"}) == {}


def test_job_ids(tmp_path):
    """Ids of the schedulers and trackers around the work are kept; other variables are not."""
    facts = metadata.describe(["sh"], str(tmp_path), {"SLURM_JOB_ID": "42", "RANK": "0", "HOME_SECRET": "x"})

    assert (facts["slurm_job"], facts["rank"]) == ("42", "0")
    assert "x" not in facts.values()
