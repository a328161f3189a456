"""An unedited program as an objective: its parameters on the command line, its metric as it tells it (heard.py).

    joulewise search --space space.toml --metric val_accuracy --budget 2MJ -- python train.py --data digits

`{name}` in the command is replaced by a parameter's value; parameters that stand nowhere in it are added as
`--name=value`. `{checkpoint}` is a path of the trial's own, the same whenever it starts: a program that writes its
state there after every epoch, and begins from it if it is there, loses one epoch when its worker is killed. `{share}` is
the share of the data, or of the width, that a training is to use: then each training is a run of its own.

**Freezing.** The program's process group is stopped (SIGSTOP) as soon as it has told an epoch, and continued when the
trial goes on. It keeps its memory, and uses no processor. If the worker is killed, the kernel ends a stopped group that
nobody can continue any more (SIGHUP to an orphaned group), and a running program at its next line (its reader is gone).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, final

from joulewise.launching.local import MARK
from joulewise.measuring.agent import injected
from joulewise.searching.heard import Heard
from joulewise.searching.objective import Handle, TrialFailed
from joulewise.searching.space import Space
from joulewise.vocabulary.errors import UnknownName, UsageError

_PLACE = re.compile(r"\{([A-Za-z_][\w.-]*)\}")
_CHECKPOINT, _SHARE = "checkpoint", "share"


@final
class Script:
    """The objective of a program that is trained epoch by epoch; each trial is a process of its own."""

    def __init__(
        self,
        argv: Sequence[str],
        metric: str,
        space: Space,
        folder: Path | None = None,
        *,
        phases: bool = True,
    ) -> None:
        self._program = _Program(argv, metric, space, (_CHECKPOINT,), phases=phases)
        self.__name__ = self._program.name
        self._keeps = _CHECKPOINT in _places(argv)
        self._folder = folder

    def __call__(self, trial: Handle) -> Iterator[float]:
        """Yield what the program tells of each epoch; it stands still in between."""
        with _scratch() as folder:
            checkpoint = self._checkpoint(trial, folder)
            if trial.saved and not os.path.exists(trial.saved):
                raise TrialFailed(f"its checkpoint {trial.saved} is gone")
            if not trial.saved:
                _remove(checkpoint)  # of a worker that was killed before it could say so
            with self._program.running(folder, {**trial.params, _CHECKPOINT: checkpoint}) as run:
                for value in run.heard.values():
                    run.stop()
                    if self._keeps and os.path.exists(checkpoint):
                        trial.save(Path(checkpoint))
                    yield value
                    run.go_on()
                run.judge(trial.reported)

    def _checkpoint(self, trial: Handle, folder: Path) -> str:
        if self._folder is None:
            return str(folder / _CHECKPOINT)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(self._folder / f"{trial.number}")


@final
class SharedScript:
    """The objective of a program that is told its `{share}`: each training is a run of its own, to its end."""

    def __init__(self, argv: Sequence[str], metric: str, space: Space, *, phases: bool = True) -> None:
        if _SHARE not in _places(argv):
            raise UsageError(
                "shares need a place in the program's command line: {share}, for instance --data-share={share}"
            )
        self._program = _Program(argv, metric, space, (_SHARE,), phases=phases)
        self.__name__ = self._program.name

    def __call__(self, trial: Handle) -> float:
        """Return the last value that the program tells when it trains on the trial's share."""
        last, count = 0.0, 0
        with (
            _scratch() as folder,
            self._program.running(folder, {**trial.params, _SHARE: trial.share}) as run,
        ):
            for value in run.heard.values():
                last, count = value, count + 1
            run.judge(count)
        return last


@final
class _Program:
    """A command with places, and how to run it with values for them. `own` are the places that no parameter fills."""

    def __init__(
        self, argv: Sequence[str], metric: str, space: Space, own: tuple[str, ...], *, phases: bool
    ) -> None:
        if not argv:
            raise UsageError(
                "there is no program to search; give one after --, for instance -- python train.py"
            )
        if shutil.which(argv[0]) is None:
            raise UsageError(f"{argv[0]}: command not found")
        for name in own:
            if name in space.parameters:
                raise UsageError(f"a parameter cannot be named {name}: {{{name}}} is filled by the search")
        for name in _places(argv) - {*own, *space.parameters}:
            if name == _SHARE:
                raise UsageError(
                    "{share} in the command is the share of a training; say which: --shares 0.1,0.3,1"
                )
            if name == _CHECKPOINT:
                raise UsageError("with shares each training is a run of its own, which has no {checkpoint}")
            raise UnknownName("parameter", name, [*space.parameters, *own], "in the command")
        self.name = os.path.basename(next((a for a in argv if a.endswith(".py")), argv[0]))
        self._argv = tuple(argv)
        self._metric = metric
        self._own = own
        self._phases = phases

    @contextmanager
    def running(self, folder: Path, values: Mapping[str, Any]) -> Iterator[_Run]:
        """Return the program running with these values; it is ended when the context is left."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", MARK: str(folder)}
        with (folder / "stderr").open("wb+") as errors:
            try:
                process = subprocess.Popen(
                    command(self._argv, values, self._own), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                    process_group=0, env=injected(environment) if self._phases else environment,
                )  # fmt: skip
            except OSError as error:
                raise TrialFailed(f"cannot start {self._argv[0]}: {error.strerror}") from None
            try:
                yield _Run(process, Heard(process, folder, self._metric), self._metric, errors)
            finally:
                _signal(process, signal.SIGKILL)
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()


@final
class _Run:
    """A program that runs: what it tells, and how it is stopped and goes on."""

    def __init__(
        self, process: subprocess.Popen[bytes], heard: Heard, metric: str, errors: IO[bytes]
    ) -> None:
        self.heard = heard
        self._process = process
        self._metric = metric
        self._errors = errors

    def stop(self) -> None:
        """Stop the process group, and return when the program does stand."""
        _signal(self._process, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def go_on(self) -> None:
        """Let the process group go on."""
        _signal(self._process, signal.SIGCONT)

    def judge(self, told: int) -> None:
        """Fail the trial if the program, which has told `told` values, failed or told none."""
        if code := self._process.wait():
            what = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise TrialFailed(f"the program ended with {what} after epoch {told}: {_last_line(self._errors)}")
        if not told:
            others = ", ".join(self.heard.named)
            raise TrialFailed(
                f"the program ended without printing {self._metric}: 0.91 or the like"
                + (f"; what it tells is {others}" if others else "")
            )


def command(argv: Sequence[str], values: Mapping[str, Any], own: Sequence[str] = (_CHECKPOINT,)) -> list[str]:
    """Return the program's command line with these values; those that have no place in it are added, `own` ones left out."""
    texts = {name: _text(value) for name, value in values.items()}
    placed = {*_places(argv), *own}
    # a parameter that has a place but does not apply leaves its whole argument out
    filled = [
        _PLACE.sub(lambda m: texts.get(m[1], m[0]), a)
        for a in argv
        if all(name in texts for name in _PLACE.findall(a))
    ]
    return [*filled, *(f"--{name}={texts[name]}" for name in values if name not in placed)]


def _places(argv: Sequence[str]) -> set[str]:
    return {name for a in argv for name in _PLACE.findall(a)}


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="joulewise-trial-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        Path(path).unlink(missing_ok=True)


def _last_line(file: IO[bytes]) -> str:
    file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
    lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it said nothing"
