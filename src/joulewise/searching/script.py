"""An unedited program as an objective: its parameters on the command line, its metric as it prints it.

    joulewise search --space space.toml --metric val_accuracy --budget 2MJ -- python train.py --data digits

`{name}` in the command is replaced by a parameter's value; parameters that stand nowhere in it are added as
`--name=value`. `{checkpoint}` is a path of the trial's own, the same whenever it starts: a program that writes its
state there after every epoch, and begins from it if it is there, loses one epoch when its worker is killed.

A value is read from each printed line that names the metric (`val_accuracy: 0.91`, `val_accuracy=91%`,
`{"val_accuracy": 0.91}`), or from `joulewise.track().log(val_accuracy=0.91)` inside the program: one an epoch.

**Freezing.** The program's process group is stopped (SIGSTOP) as soon as it has told an epoch, and continued when the
trial goes on. It keeps its memory, and uses no processor. If the worker is killed, the kernel ends a stopped group that
nobody can continue any more (SIGHUP to an orphaned group), and a running program at its next line (its reader is gone).
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from joulewise.launching.local import MARK
from joulewise.measuring.progress import Followed
from joulewise.searching.objective import Handle, TrialFailed
from joulewise.searching.space import Space
from joulewise.vocabulary.errors import UnknownName, UsageError

_LOOK_S = 0.05  # for what the program logs beside its output
_PLACE = re.compile(r"\{([A-Za-z_][\w.-]*)\}")
_CHECKPOINT = "checkpoint"
_NUMBER = r"([-+]?(?:\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)\b)(\s?%)?"


@final
class Script:
    """The objective of a program; each trial is a process of its own."""

    def __init__(self, argv: Sequence[str], metric: str, space: Space, folder: Path | None = None) -> None:
        if not argv:
            raise UsageError(
                "there is no program to search; give one after --, for instance -- python train.py"
            )
        if shutil.which(argv[0]) is None:
            raise UsageError(f"{argv[0]}: command not found")
        for name in _places(argv):
            if name != _CHECKPOINT and name not in space.parameters:
                raise UnknownName("parameter", name, [*space.parameters, _CHECKPOINT], "in the command")
        self.__name__ = os.path.basename(next((a for a in argv if a.endswith(".py")), argv[0]))
        self._argv = tuple(argv)
        self._metric = metric
        self._told = re.compile(
            rf"(?<![\w.-])[\"']?{re.escape(metric)}[\"']?\s*[:=]\s*{_NUMBER}", re.IGNORECASE
        )
        self._folder = folder

    def __call__(self, trial: Handle) -> Iterator[float]:
        """Yield what the program tells of each epoch; it stands still in between."""
        folder = Path(tempfile.mkdtemp(prefix="joulewise-trial-"))
        checkpoint = self._checkpoint(trial, folder)
        if trial.saved and not os.path.exists(trial.saved):
            raise TrialFailed(f"its checkpoint {trial.saved} is gone")
        if not trial.saved:
            _remove(checkpoint)  # of a worker that was killed before it could say so
        errors = (folder / "stderr").open("wb+")
        process = None
        try:
            process = subprocess.Popen(
                command(self._argv, trial.params, checkpoint), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=errors, process_group=0, env=self._environment(folder),
            )  # fmt: skip
            for value in self._values(process, folder):
                _signal(process, signal.SIGSTOP)
                os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # it does stand
                if _CHECKPOINT in _places(self._argv) and os.path.exists(checkpoint):
                    trial.save(Path(checkpoint))
                yield value
                _signal(process, signal.SIGCONT)
            self._judge(process.wait(), trial, errors)
        except OSError as error:
            raise TrialFailed(f"cannot start {self._argv[0]}: {error.strerror}") from None
        finally:
            if process is not None:
                _signal(process, signal.SIGKILL)
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
            errors.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _checkpoint(self, trial: Handle, folder: Path) -> str:
        if self._folder is None:
            return str(folder / _CHECKPOINT)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(self._folder / f"{trial.number}")

    def _environment(self, folder: Path) -> dict[str, str]:
        return {**os.environ, "PYTHONUNBUFFERED": "1", MARK: str(folder)}

    def _values(self, process: subprocess.Popen[bytes], folder: Path) -> Iterator[float]:
        """Yield the metric whenever the program prints or logs it, until it ends."""
        assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        logged = Followed(folder, "")
        torn = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                data = b""
                if selector.select(_LOOK_S):
                    data = os.read(process.stdout.fileno(), 65536)
                    ended = not data
                else:
                    ended = process.poll() is not None
                *lines, torn = (torn + data).replace(b"\r", b"\n").split(b"\n")
                if ended:
                    lines.append(torn)
                for line in lines:
                    yield from self._seen(line.decode(errors="replace"))
                for point in logged.new_points():
                    if self._metric in point:
                        yield float(point[self._metric])
                if ended:
                    return

    def _seen(self, line: str) -> Iterator[float]:
        found = self._told.search(line)
        if found:
            yield float(found[1].replace("_", "")) / (100 if found[2] else 1)

    def _judge(self, code: int, trial: Handle, errors: Any) -> None:
        """Fail the trial if the program failed, or never told the metric."""
        if code:
            what = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise TrialFailed(
                f"the program ended with {what} after epoch {trial.reported}: {_last_line(errors)}"
            )
        if not trial.reported:
            raise TrialFailed(f"the program ended without printing {self._metric}: 0.91 or the like")


def command(argv: Sequence[str], params: Mapping[str, Any], checkpoint: str = "") -> list[str]:
    """Return the program's command line with these parameters."""
    texts = {name: _text(value) for name, value in params.items()} | {_CHECKPOINT: checkpoint}
    placed = _places(argv)
    # a parameter that has a place but does not apply leaves its whole argument out
    filled = [
        _PLACE.sub(lambda m: texts.get(m[1], m[0]), a)
        for a in argv
        if all(name in texts for name in _PLACE.findall(a))
    ]
    return [*filled, *(f"--{name}={texts[name]}" for name in params if name not in placed)]


def _places(argv: Sequence[str]) -> set[str]:
    return {name for a in argv for name in _PLACE.findall(a)}


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        Path(path).unlink(missing_ok=True)


def _last_line(file: Any) -> str:
    file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
    lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it said nothing"
