"""What the user writes, driven an epoch at a time: a generator, or a function that reports and saves.

    def objective(trial):                       def objective(trial):
        model = build(trial.params)                 model = trial.saved or build(trial.params)
        for epoch in trial.epochs():                for epoch in trial.epochs():
            train(model)                                train(model)
            yield accuracy(model)                       trial.report(accuracy(model))
                                                        trial.save(model)

A generator is simply left standing where it yielded, and goes on from there; it may save, too (before it yields), and
then goes on from `trial.saved` after its process was killed, or in another worker. A function is left by an exception of
ours at the end of its last epoch and called again when it is to go on: what it saved is then in `trial.saved`. A
function that saved nothing starts again from epoch 1, and its repeated epochs are paid.

Whatever the objective does wrong fails its trial in one line; the study goes on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

from joulewise.vocabulary.errors import JoulewiseError


class TrialFailed(JoulewiseError):  # noqa: N818 - it names the state
    """A trial cannot go on; the message is the one line that says why."""


class _Leave(BaseException):
    """Takes a function out of its loop at the end of an epoch; not an Exception, so that no handler keeps it."""


@final
class Handle:
    """What the objective sees of its trial: its parameters, the epochs to train, where to report and save."""

    def __init__(
        self, number: int, params: Mapping[str, Any], epochs: int, shares: Sequence[float] = ()
    ) -> None:
        self.number = number
        self.params: Mapping[str, Any] = MappingProxyType(dict(params))
        self.total_epochs = epochs
        self._shares = tuple(shares)
        self.saved: Any = None
        self.saved_at = 0  # the epoch after which it was saved
        self._keep: Callable[[int, Any], None] | None = None
        self._reported: list[float] = []
        self._take: Callable[[float], bool] | None = (
            None  # of a function: told each value, answers whether to go on
        )
        self._leave = False
        self._unkept: str | Path | None = None

    @property
    def share(self) -> float:
        """The share of the whole (of the data, of the width, or of both) that is to be trained now; 1 without shares."""
        return self._shares[min(len(self._reported), len(self._shares) - 1)] if self._shares else 1.0

    @property
    def by_shares(self) -> bool:
        """Whether each epoch is a training of its own."""
        return bool(self._shares)

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    @property
    def reported(self) -> int:
        """How many epochs have been reported, those that are to be repeated left out."""
        return len(self._reported)

    def epochs(self) -> Iterator[int]:
        """Yield the epochs that are still to be trained, counted from 1."""
        for epoch in range(self.saved_at + 1, self.total_epochs + 1):
            yield epoch
            if self._take is not None and len(self._reported) < epoch:
                raise TrialFailed(
                    f"epoch {epoch} ended without a report; call trial.report(value) in every epoch"
                )
            if self._leave:
                raise _Leave

    def report(self, value: Any, epoch: int | None = None) -> None:
        """Report the value of the epoch that was just trained; `epoch`, if given, must be the next one."""
        number = self._checked(value, epoch)
        if self._take is None:
            raise TrialFailed("a generator reports by yield, not by trial.report; use one of the two")
        self._reported.append(number)
        self._leave = not self._take(number)

    def save(self, state: Any) -> None:
        """Keep `state` as what the trial goes on from; a function calls it after `report`, a generator before `yield`.

        It is kept in memory. A text or a `Path` (of a checkpoint that you wrote) stands in the journal, too, and so
        survives this process.
        """
        epoch = len(self._reported) + (self._take is None)
        self.saved, self.saved_at = state, epoch
        self._unkept = state if isinstance(state, str | Path) else None
        if self._take is not None:
            self.keep_saved()

    def keep_saved(self) -> None:
        """Put what was saved into the journal, once the epoch that it belongs to stands there."""
        if self._keep is not None and self._unkept is not None and self.saved_at <= len(self._reported):
            self._keep(self.saved_at, self._unkept)
            self._unkept = None

    def remember(
        self, keep: Callable[[int, Any], None], saved: Any, saved_at: int, values: Sequence[float]
    ) -> None:
        """Tell `keep` of what is saved from now on; begin with what an earlier process saved."""
        self._keep = keep
        self.saved, self.saved_at, self._reported = saved, saved_at, list(values[:saved_at])

    def yielded(self, value: Any) -> float:
        """Return what a generator yielded as the next epoch's value: a number, or the pair (epoch, number)."""
        epoch, value = value if isinstance(value, tuple) and len(value) == 2 else (None, value)
        number = self._checked(value, epoch)
        self._reported.append(number)
        return number

    def begin(self, take: Callable[[float], bool]) -> None:
        """Make ready for a call of the function: epochs after the last save are to be reported again."""
        self._take, self._leave = take, False
        del self._reported[self.saved_at :]

    def _checked(self, value: Any, epoch: Any) -> float:
        expected = len(self._reported) + 1
        if epoch is not None and epoch != expected:
            raise TrialFailed(
                f"it reported epoch {epoch!r} where epoch {expected} was due; report them in order"
            )
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise TrialFailed(f"it reported {value!r} at epoch {expected}, which is not a number") from None
        if not isfinite(number):
            raise TrialFailed(f"it reported {number} at epoch {expected}")
        return number


@final
class Driver:
    """One trial's objective, held between its rungs."""

    def __init__(self, objective: Callable[[Any], Any], handle: Handle) -> None:
        self._objective = objective
        self.handle = handle
        self._generator: Generator[Any, None, Any] | None = None
        self.is_generator = inspect.isgeneratorfunction(objective) or inspect.isgeneratorfunction(
            getattr(objective, "__call__", None)  # noqa: B004 - the method itself is looked at
        )
        self.ended = False

    @property
    def resumes_at(self) -> int:
        """How many epochs the trial would not have to repeat if it went on now."""
        return self.handle.reported if self.is_generator or self.handle.by_shares else self.handle.saved_at

    @property
    def begins_from_saved(self) -> bool:
        """Whether the objective, a function, is called with what it saved when the trial goes on."""
        return not self.is_generator and not self.handle.by_shares and self.handle.saved_at > 0

    def advance(self, ready: Callable[[], bool], take: Callable[[float], bool]) -> None:
        """Train epoch by epoch: `ready` is asked before each, `take` is told each value; either ends it by False.

        Raises TrialFailed with one line for whatever the objective does wrong.
        """
        try:
            if self.handle.by_shares:
                self._trainings(ready, take)
            elif self.is_generator:
                self._step(ready, take)
            else:
                self._call(ready, take)
        except TrialFailed:
            raise
        except Exception as error:
            at = self.handle.reported + 1
            raise TrialFailed(f"{type(error).__name__} at epoch {at}: {_one_line(error)}") from error

    def close(self) -> str:
        """Let go of the objective; return what went wrong with that, or nothing."""
        generator, self._generator = self._generator, None
        self.handle.saved = None
        try:
            if generator is not None:
                generator.close()
        except Exception as error:  # noqa: BLE001 - the user's clean-up may raise anything; the study is not lost by it
            return (
                f"trial {self.handle.number} could not be closed: {type(error).__name__}: {_one_line(error)}"
            )
        return ""

    def _step(self, ready: Callable[[], bool], take: Callable[[float], bool]) -> None:
        if self._generator is None:
            self._generator = self._objective(self.handle)
        while ready():
            try:
                value = next(self._generator)
            except StopIteration:
                self._end()
                return
            goes_on = take(self.handle.yielded(value))
            self.handle.keep_saved()
            if not goes_on:
                return

    def _trainings(self, ready: Callable[[], bool], take: Callable[[float], bool]) -> None:
        """Call the function once for each share; what it returns is the value."""
        if self.is_generator:
            raise TrialFailed("with shares the objective must return a value, not yield one")
        while self.handle.reported < self.handle.total_epochs and ready():
            if not take(self.handle.yielded(self._objective(self.handle))):
                return

    def _call(self, ready: Callable[[], bool], take: Callable[[float], bool]) -> None:
        if not ready():
            return
        self.handle.begin(lambda value: take(value) and ready())
        try:
            self._objective(self.handle)
        except _Leave:
            return
        self._end()

    def _end(self) -> None:
        self.ended = True
        if not self.handle.reported:
            raise TrialFailed(
                "it ended without reporting a value; yield one an epoch, or call trial.report(value)"
            )


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]
