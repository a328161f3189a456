"""What `joulewise run` does while the program runs and after it: record, show, hold the budget, say what it cost.

Loaded when the program has started. Whatever is raised here is caught by the verb, which then only waits; the
recorder's thread tells its own faults here and nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

from joulewise import wiring
from joulewise.cli.live import PlainLines, StatusLine, live_view, write_if_read
from joulewise.cli.run_options import RunOptions
from joulewise.cli.watching import Look, Watch
from joulewise.launching.local import Ended, LocalProcess, Screen
from joulewise.vocabulary.budget import Verdict
from joulewise.vocabulary.errors import JoulewiseError
from joulewise.vocabulary.recording import EndState, Recording

if TYPE_CHECKING:
    from joulewise.cli.idling import Idling
    from joulewise.cli.limits import Limits
    from joulewise.measuring.accounting import Account
    from joulewise.measuring.recorder import Snapshot

_LEAST_WAIT_S = 0.02
_FIRST_S, _FIRST_LOOKS_S = 5.0, 0.2  # a small budget may be spent before the second tick is old
_IDLE_LOOKS_S = 15.0
_LONGEST_WORD, _MOST_WORDS = 1000, 200
_PATIENCE_S = 2.0  # for a reader of the card


@final
class Session:
    """One recorded run, seen from its parent process.

    `named` is the name, the run id, the folder ("" keeps nothing on disk) and whether this run is inside another.
    """

    def __init__(
        self,
        process: LocalProcess,
        options: RunOptions,
        limits: Limits | None,
        named: tuple[str, str, str, bool],
        started_s: float,
    ) -> None:
        name, run_id, self._folder, nested = named
        warnings.simplefilter("ignore")  # ours are not the user's business
        threading.excepthook = self._hear_fault
        self._process, self._options, self._limits, self._started_s = process, options, limits, started_s
        self._fault = ""
        self._stopped: tuple[Verdict, str] | None = None
        self._told: set[str] = set()
        self._alerted: set[tuple[str, str]] = set()
        self._tellers: list[threading.Thread] = []
        self._name, self._run_id = name, run_id
        runs = os.path.dirname(os.path.dirname(self._folder)) if self._folder else None
        flags = {
            "zone": options.zone or None,
            "interval_s": options.interval,
            "runs": runs,
            "live": options.live or None,
        }
        settings = wiring.settings(flags)
        self._settings = settings
        self._interval_s = settings.interval_s
        self._recorder = wiring.recorder(
            process.pid,
            name,
            _shortened(options.command),
            interval_s=options.interval,
            params=_params(options),
            run_id=run_id,
            keep=bool(self._folder),
            started_s=started_s,
            flags=flags,
        )
        self._recorder.expects_agent = bool(self._folder) and not options.no_phases
        self._recorder.start()
        if options.remedies:
            self._recorder.note("with", f"remedies were asked for: {options.remedies}")
        self._idling: Idling | None = None
        if settings.tells("idle"):
            from joulewise.cli.idling import Idling

            self._idling = Idling(settings.alert_idle_s)
        self._watch = Watch(
            self._latest,
            limits.place if limits else wiring.place(chosen=settings),
            limits.budget if limits else None,
            limits.pot if limits else None,
        )
        self._view: StatusLine | PlainLines | None = None
        if not options.quiet:
            self._view = live_view(
                settings.live,
                limits.budget if limits else None,
                _is_terminal(),
                os.environ.get("TERM", ""),
                nested,
            )
        if self._view is not None:
            process.screen = Screen(self._view.suspend, self._view.resume, self._view.resize)
        self._last: Look | None = None
        if limits is not None:
            if limits.pot is not None:
                limits.pot.begin(run_id)
            self._recorder.note(
                "budget", f"the budget is {limits.budget}{f'; {limits.assumed}' if limits.assumed else ''}"
            )
            if limits.assumed:
                self._say(limits.assumed)

        if not options.quiet:
            _load_card()

    def wait_s(self) -> float | None:
        """Return in how many seconds to look again; None if there is nothing to look for."""
        now_s = self._now_s()
        waits = []
        if self._view is not None:
            waits.append(self._view.wait_s(now_s))
        if self._limits is not None:
            waits.append(self._interval_s)
            if self._last is not None:
                waits.append(self._watch.next_s(self._last))
            if now_s < _FIRST_S:
                waits.append(_FIRST_LOOKS_S)
        if self._idling is not None:
            waits.append(min(max(self._settings.alert_idle_s / 4, _FIRST_LOOKS_S), _IDLE_LOOKS_S))
        return max(_LEAST_WAIT_S, min(waits)) if waits else None

    def look(self) -> Verdict:
        """Look how things stand: show it, warn, and return the verdict."""
        look = self._last = self._watch.look(self._now_s())
        if self._view is not None:
            self._view.show(look)
        if look.verdict.warns:
            self._warn("budget", look.verdict.reason)
            self._alert("budget", look.verdict.reason, limit=look.verdict.limit, stopped=False)
        if unknown := self._watch.unknown(look.now_s):
            self._warn("budget", unknown)
        if self._idling is not None:
            for idle in self._idling.look(self._latest()):
                self._recorder.note("idle", idle.words)
                self._alert("idle", idle.words, device=idle.device, idle_s=round(idle.for_s, 1), ended=False)
        return look.verdict

    def enforce(self, verdict: Verdict) -> Ended:
        """End the program and its tree, as the budget asks; returns how it ended."""
        if self._view is not None:
            self._view.close()
        self._recorder.note("budget", verdict.reason)
        self._say(
            f"{verdict.reason}; the program is asked to end, and killed after {self._options.grace:g} s"
        )
        self._stopped = (verdict, "")
        ended = self._process.end(self._options.grace)
        self._alert("budget", verdict.reason, limit=verdict.limit, stopped=True)
        over = self._watch.overshoot(self._watch.look(self._now_s()))
        self._stopped = (verdict, f"; over the limit by {over}" if over else "")
        return ended

    def close(self, ended: Ended) -> None:
        """End the recording and say what the run cost."""
        if self._view is not None:
            self._view.close()
        recording = self._end(ended)
        self._settle_pot(recording)
        if self._stopped is not None and self._stopped[1]:
            self._say(f"the budget is spent{self._stopped[1]}")
        fault = self._fault or self._recorder.fault
        if fault:
            self._say(f"not everything was kept: {fault}")
        self._tell(recording)
        for teller in self._tellers:
            teller.join(_PATIENCE_S)
        if self._folder:
            wiring.send_later(self._settings)

    def _tell(self, recording: Recording) -> None:
        """Show the card and write the files that were asked for; say what stood idle."""
        if self._settings.alerts:
            self._alert_idle(recording)
        if self._options.quiet and not (self._options.json or self._options.report):
            return
        account = wiring.account(recording, self._options.zone or None)
        if not self._options.quiet:
            from joulewise.cli.card import render

            card = render(account, wiring.advice(account)).rstrip("\n")
            if self._options.remedies:
                from joulewise.cli import remedied

                card = "\n".join([card, *remedied.lines(account, self._options.remedies)])
            write_if_read(card + "\n", _PATIENCE_S)
        self._write_files(account)

    def _end(self, ended: Ended) -> Recording:
        if self._stopped is not None:
            state, reason = EndState.STOPPED, "".join((self._stopped[0].reason, self._stopped[1]))
        elif ended.signal is not None:
            state, reason = EndState.KILLED, f"killed by signal {ended.signal}"
        elif ended.exit_code:
            state, reason = EndState.FAILED, f"exit code {ended.exit_code}"
        else:
            state, reason = EndState.FINISHED, ""
        return self._recorder.stop(
            state, exit_code=ended.exit_code, signal=ended.signal, reason=reason, root_cpu_s=ended.cpu_s
        )

    def _settle_pot(self, recording: Recording) -> None:
        """Tell the pot what this run has used in all, its last moments included."""
        if self._limits is None or self._limits.pot is None:
            return
        from joulewise.measuring.accounting import account

        cost, seen = account(recording, self._limits.place).footprint, self._watch.look(self._now_s()).spent
        used = replace(
            seen, time_s=recording.duration_s, energy_j=cost.total_j, carbon_g=cost.carbon_g, cost=cost.cost
        )
        try:
            self._limits.pot.share(used, ended=True)
        except JoulewiseError as error:
            self._say(f"the pot could not be told the end of this run: {error}")

    def _write_files(self, account: Account) -> None:
        for path, write in ((self._options.json, _write_json), (self._options.report, _write_report)):
            if not path:
                continue
            try:
                write(account, path)
            except OSError as error:
                self._say(f"cannot write {path}: {error.strerror}")
            else:
                self._say(f"wrote {os.path.abspath(path)} ({os.path.getsize(path) / 1000:.0f} kB)")

    def _latest(self) -> Snapshot | None:
        return self._recorder.latest

    def _now_s(self) -> float:
        return time.monotonic() - self._started_s

    def _warn(self, kind: str, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._recorder.note(kind, text)
            self._say(text)

    def _alert(self, event: str, text: str, **facts: Any) -> None:
        """Have a webhook told, where one is set and was not told so; never raises what a webhook or a disk can do."""
        if not self._settings.alerts or (event, text) in self._alerted:
            return
        self._alerted.add((event, text))
        teller = threading.Thread(target=self._notify, args=(event, text, facts), daemon=True)
        teller.start()  # loading what it takes must not keep a budget from being held
        self._tellers.append(teller)

    def _notify(self, event: str, text: str, facts: Mapping[str, Any]) -> None:
        from joulewise.exchange.alerts import Alert, notify

        alert = Alert(event, f"{self._name}: {text}", self._run_id, self._name, facts)
        try:
            fault = notify(self._settings, alert)
        except JoulewiseError as error:
            fault = str(error)
        if fault:
            self._say(fault)

    def _alert_idle(self, recording: Recording) -> None:
        """Tell of devices that were held and did nothing, unless told before; send what a receiver did not take earlier."""
        from joulewise.exchange.alerts import spool, start_sender, waiting
        from joulewise.vocabulary.finding import Cause

        told = any(event == "idle" for event, _ in self._alerted)
        for finding in wiring.findings(wiring.account(recording)):
            if finding.cause is Cause.BUSY_IDLE_SERVICE or (finding.cause is Cause.IDLE_HOLDER and not told):
                self._alert("idle", finding.evidence, cause=finding.cause.value, ended=True)
        if not self._alerted and waiting(spool(self._settings)):
            start_sender(self._settings)

    def _say(self, text: str) -> None:
        if not self._options.quiet:
            write_if_read(f"joulewise: {text}\n", _PATIENCE_S)

    def _hear_fault(self, args: threading.ExceptHookArgs) -> None:
        self._fault = f"the recorder failed: {args.exc_type.__name__}: {args.exc_value}"


def _load_card() -> None:
    """Load what the card needs while the program runs: later the user would wait for it."""
    import joulewise.cli.card
    import joulewise.diagnosing
    import joulewise.measuring.accounting  # noqa: F401


def _is_terminal() -> bool:
    try:
        return os.isatty(2)
    except OSError:
        return False


def _params(options: RunOptions) -> Mapping[str, Any]:
    params: dict[str, Any] = {}
    for text in options.param:
        key, _, value = text.partition("=")
        params[key] = _plain(value)
    if options.tag:
        params["tags"] = list(options.tag)
    return params


def _shortened(command: Sequence[str]) -> list[str]:
    """Return the command as it is worth keeping: a program may have megabytes of arguments."""
    kept = [
        word if len(word) <= _LONGEST_WORD else f"{word[:_LONGEST_WORD]}..." for word in command[:_MOST_WORDS]
    ]
    return kept if len(command) <= _MOST_WORDS else [*kept, f"... and {len(command) - _MOST_WORDS} more"]


def _plain(value: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value


def _write_json(account: Account, path: str) -> None:
    from joulewise.cli.results import account_json

    with open(path, "w", encoding="utf-8") as file:
        file.write(account_json(account))


def _write_report(account: Account, path: str) -> None:
    from joulewise.web.report import render

    with open(path, "w", encoding="utf-8") as file:
        file.write(render(account))
