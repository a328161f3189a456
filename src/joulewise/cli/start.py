"""What must be known before the program starts: the folder of its recording, and its name.

The same answers as `settings.load().runs` and `ledger.files.new_run_id` give, without loading them: that alone would
keep the program waiting. Where a settings file may say otherwise, the settings are asked after all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._")


def run_name(command: Sequence[str]) -> str:
    """Return a name for a command: that of the script for an interpreter, else that of the program."""
    program = os.path.basename(command[0])
    if program.startswith(("python", "bash", "sh", "torchrun", "accelerate", "julia", "Rscript", "node")):
        words = list(command[1:])
        while words:
            word = words.pop(0)
            if word in ("-m", "--module") and words:
                return words[0]
            if word == "-c":
                break
            if word in ("-W", "-X") and words:
                words.pop(0)
            elif not word.startswith("-") and "." in os.path.basename(word):
                return os.path.splitext(os.path.basename(word))[0] or program
    return program or "run"


def new_run_id(name: str) -> str:
    """Return an id that sorts by time and can be read: `20261123T081500-digits-3f9a2c07e1`."""
    slug = "".join(c if c in _PLAIN else "-" for c in name)
    while "--" in slug:
        slug = slug.replace("--", "-")
    slug = slug.strip("-.")[:40] or "run"
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{slug}-{os.urandom(5).hex()}"


def recording_folder(runs: str, run_id: str) -> str:
    """Return the folder of a recording under `runs`, as `ledger.files.run_folder` does."""
    return os.path.join(runs, f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}", run_id)


def runs_folder(environment: Mapping[str, str]) -> str:
    """Return the folder of the recordings, "" if the user has no home."""
    if told := environment.get("JOULEWISE_RUNS"):
        return told
    if _has_settings_file(environment):
        from joulewise.settings import load

        return load(environment).runs
    if home := environment.get("JOULEWISE_HOME"):
        return os.path.join(home, "runs")
    base = environment.get("XDG_DATA_HOME") or _home(environment, ".local/share")
    return os.path.join(base, "joulewise", "runs") if base else ""


def _has_settings_file(environment: Mapping[str, str]) -> bool:
    base = environment.get("XDG_CONFIG_HOME") or _home(environment, ".config")
    if base and os.path.isfile(os.path.join(base, "joulewise", "settings.toml")):
        return True
    try:
        folder = os.getcwd()
    except OSError:  # the current folder was deleted
        return False
    while True:
        path = os.path.join(folder, "pyproject.toml")
        if os.path.isfile(path):
            return _mentions_us(path)
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent


def _mentions_us(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"tool.joulewise" in file.read(1_000_000)
    except OSError:
        return False


def _home(environment: Mapping[str, str], below: str) -> str:
    home = environment.get("HOME", "")
    if not home:
        expanded = os.path.expanduser("~")
        home = expanded if expanded.startswith("/") else ""
    return os.path.join(home, below) if home and home != "/" else ""
