"""What a trial must not do: report to experiment trackers, or write into files that are only linked into its folder.

Trackers are set offline by their variables, and where a program says otherwise in its code, there. A file that is a link
in the scratch folder is made a copy before it is written to. What is written outside of the folder is told (`outside`).
Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
from typing import Any

NAME = "sandbox"
_MOST_TOLD = 20
_MOST_OWN = 10_000
_PASSING = ("/dev/", "/proc/", "/sys/")
_WRITES = ("open", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate")


def attach(hand: Any, value: str) -> None:
    """Guard the scratch folder `value`."""
    os.environ.update(offline(value))
    hand.when("wandb", _wandb)
    hand.when("mlflow", functools.partial(_mlflow, value))
    hand.when("comet_ml", _comet)
    hand.when("neptune", _neptune)
    writes = Writes(hand, value)
    hand.when("torch", writes.watch_saves)
    sys.addaudithook(writes.audit)


def offline(folder: str) -> dict[str, str]:
    """Return the variables that keep trackers and hubs off the network, and their files in the folder."""
    return {
        "WANDB_MODE": "offline",
        "WANDB_DIR": folder,
        "WANDB_SILENT": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "COMET_OFFLINE_DIRECTORY": folder,
        "NEPTUNE_MODE": "offline",
        "CLEARML_OFFLINE_MODE": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def _wandb(module: Any) -> None:
    original = module.init

    @functools.wraps(original)
    def init(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("mode") != "disabled":
            kwargs["mode"] = "offline"
        return original(*args, **kwargs)

    module.init = init


def _mlflow(folder: str, module: Any) -> None:
    original = module.set_tracking_uri

    @functools.wraps(original)
    def set_tracking_uri(_uri: Any) -> Any:
        return original(offline(folder)["MLFLOW_TRACKING_URI"])

    module.set_tracking_uri = set_tracking_uri


def _comet(module: Any) -> None:
    module.Experiment = module.OfflineExperiment
    if hasattr(module, "start"):
        original = module.start

        @functools.wraps(original)
        def start(*args: Any, **kwargs: Any) -> Any:
            return original(*args, **{**kwargs, "online": False})

        module.start = start


def _neptune(module: Any) -> None:
    original = module.init_run

    @functools.wraps(original)
    def init_run(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **{**kwargs, "mode": "offline"})

    module.init_run = init_run


class Writes:
    """Files that are opened for writing."""

    def __init__(self, hand: Any, folder: str) -> None:
        self._hand, self._folder = hand, os.path.realpath(folder)
        self._told: set[str] = set()
        self._own: set[str] = set()  # what the trial itself has made where things pass
        self._passing = (os.environ.get("TMPDIR", "/tmp").rstrip("/") + "/", "/tmp/")  # noqa: S108 - what is made there passes
        self._off = False

    def audit(self, event: str, args: Any) -> None:
        """Hear of every file that Python opens, renames or removes, and every folder that it makes (PEP 578)."""
        if event not in _WRITES or self._off:
            return
        if event == "open" and not (
            isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            return
        if event == "os.mkdir" and os.path.isdir(args[0]):  # it is there: nothing is made
            return
        self._off = True
        try:
            for path in args[:2] if event == "os.rename" else args[:1]:
                self.written(path)
        except Exception:  # noqa: BLE001, S110 - the interpreter would raise it in the program's own call
            pass
        finally:
            self._off = False

    def watch_saves(self, torch: Any) -> None:
        """Hear of what PyTorch writes by itself."""
        original = torch.save

        @functools.wraps(original)
        def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(f, (str, os.PathLike)):
                self.written(f)
            return original(obj, f, *args, **kwargs)

        torch.save = save

    def written(self, path: Any) -> None:
        """Make a path, which is about to be written to, one of the scratch folder's own; tell it if it lies elsewhere."""
        if isinstance(path, int):
            return
        whole = os.path.abspath(os.fsdecode(path))
        if whole.startswith(_PASSING) or os.path.basename(whole).startswith("agent-"):
            return
        if not whole.startswith(self._folder + os.sep):
            passes = whole.startswith(self._passing) and (whole in self._own or not os.path.exists(whole))
            if passes and len(self._own) < _MOST_OWN:
                self._own.add(whole)
            if not passes and whole not in self._told and len(self._told) < _MOST_TOLD:
                self._told.add(whole)
                self._hand.line.facts.add("outside", whole[:300])
            return
        here = self._folder
        for part in whole[len(self._folder) + 1 :].split(os.sep):
            here = os.path.join(here, part)
            if os.path.islink(here):
                _unlinked(here, last=here == whole)


def _unlinked(link: str, *, last: bool) -> None:
    """Put a copy of a linked file, or a folder of links, where the link was."""
    target = os.path.realpath(link)
    os.unlink(link)
    if os.path.isdir(target):
        os.mkdir(link)
        for name in os.listdir(target):
            os.symlink(os.path.join(target, name), os.path.join(link, name))
    elif last and os.path.isfile(target):
        shutil.copy2(target, link)
