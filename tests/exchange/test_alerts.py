"""Alerts: told to a real receiver, signed; one that hangs, fails or is away costs the work nothing and is told later."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from joulewise.exchange import alerts
from joulewise.exchange.alerts import Alert, deliver, put, signature, waiting
from joulewise.settings import Settings
from joulewise.vocabulary.errors import UsageError


class Receiver:
    """A webhook on loopback: what it was told, and how it answers (a status, or "hang" until it is let go)."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, str], bytes]] = []
        self.answer: int | str = 204
        self.let_go = threading.Event()
        self.asked = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.set()
                if outer.answer == "hang":
                    outer.let_go.wait(60)
                    self.close_connection = True
                    return
                if outer.answer == 204:
                    outer.told.append((dict(self.headers), body))
                self.send_response(int(outer.answer))
                if outer.answer == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def bodies(self) -> list[dict[str, object]]:
        return [json.loads(body) for _, body in self.told]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.let_go.set()
    one.server.shutdown()
    one.server.server_close()


class TestDeliver:
    def test_signed_and_in_order(self, receiver, tmp_path):
        """What waits is told in order, once, with a signature that the receiver can check."""
        for number in range(3):
            put(tmp_path, Alert("budget", f"number {number}\n", "run", "digits", {"limit": "energy_j"}))

        told = deliver(tmp_path, receiver.url, "key")

        assert (told.taken, told.waiting, waiting(tmp_path)) == (3, 0, [])
        assert [b["text"] for b in receiver.bodies()] == ["number 0", "number 1", "number 2"]
        headers, body = receiver.told[0]
        assert headers["X-Joulewise-Signature"] == signature("key", headers["X-Joulewise-Timestamp"], body)
        assert headers["X-Joulewise-Event"] == "budget"
        assert {*receiver.bodies()[0]} == {"schema_version", "id", "event", "text", "run_id", "name", "facts", "at_utc", "host"}  # fmt: skip
        assert deliver(tmp_path, receiver.url).taken == 0

    @pytest.mark.parametrize(("answer", "why"), [(500, "said 500"), (404, "said 404"), (302, "said 302"), ("hang", "cannot be reached")])  # fmt: skip
    def test_not_taken(self, receiver, tmp_path, monkeypatch, answer, why):
        """A receiver that says no, sends elsewhere or hangs leaves the alert where it is; later it is told once."""
        monkeypatch.setattr(alerts, "_ANSWER_S", 0.5)
        receiver.answer = answer
        put(tmp_path, Alert("idle", "n1 holds a GPU"))
        told = deliver(tmp_path, receiver.url)
        assert (told.taken, told.waiting) == (0, 1)
        assert why in told.why
        receiver.let_go.set()
        receiver.answer = 204

        assert deliver(tmp_path, receiver.url).taken == 1
        assert len(receiver.told) == 1

    def test_away_then_back(self, receiver, tmp_path):
        """Nobody at the address is no error; what waited for more than a week is dropped."""
        old = put(tmp_path, Alert("idle", "old"))
        put(tmp_path, Alert("idle", "new"))
        assert deliver(tmp_path, "http://127.0.0.1:1/").waiting == 2
        os.utime(old, (1, 1))
        told = deliver(tmp_path, receiver.url)

        assert (told.taken, told.dropped) == (1, 1)
        assert [b["text"] for b in receiver.bodies()] == ["new"]

    def test_one_sender(self, receiver, tmp_path):
        """While one process delivers, another does nothing; no time left delivers nothing."""
        put(tmp_path, Alert("idle", "x"))
        with alerts._alone(tmp_path):
            assert deliver(tmp_path, receiver.url).why == "another process sends them"
        assert deliver(tmp_path, receiver.url, within_s=-1.0).why == "time was up"
        assert deliver(tmp_path, receiver.url).taken == 1

    def test_no_address(self, tmp_path):
        """What is no address is refused; nothing is started where none is set or the event is not asked for."""
        with pytest.raises(UsageError, match="must be an address"):
            deliver(tmp_path, "file:///etc/passwd")
        chosen = Settings(runs=str(tmp_path / "runs"))
        assert alerts.notify(chosen, Alert("budget", "x")) == ""
        assert alerts.notify(replace(chosen, alerts="http://x", alert_events="idle"), Alert("budget", "x")) == ""  # fmt: skip
        assert not (tmp_path / "alerts").exists()
        (tmp_path / "alerts").write_text("a file in the way")
        assert "could not be kept" in alerts.notify(replace(chosen, alerts="http://x"), Alert("budget", "x"))  # fmt: skip


def wait_for(condition, within_s: float = 60.0) -> bool:
    end_s = time.monotonic() + within_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.05)
    return bool(condition())


SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")


class TestFromARun:
    def run(self, joulewise, receiver: Receiver, *options: str, url: str = ""):
        environment = {**os.environ, "JOULEWISE_ALERTS": url or receiver.url, "JOULEWISE_ALERTS_KEY": "key"}
        return joulewise("run", "--quiet", "--name", "digits", *options, env=environment)

    def test_budget(self, receiver, joulewise):
        """A budget that is spent is told, with the run and the limit, signed."""
        done = self.run(joulewise, receiver, "--budget", "1s", "--", *SLEEP)

        assert done.returncode == 3
        assert wait_for(lambda: any(b["facts"]["stopped"] for b in receiver.bodies()))
        body = next(b for b in receiver.bodies() if b["facts"]["stopped"])
        assert (body["event"], body["name"], body["facts"]["limit"]) == ("budget", "digits", "time_s")
        assert str(body["text"]).startswith("digits: ")
        headers, raw = receiver.told[-1]
        assert headers["X-Joulewise-Signature"] == signature("key", headers["X-Joulewise-Timestamp"], raw)

    def test_hanging_receiver(self, receiver, joulewise, home):
        """A receiver that takes the request and never answers holds nobody: the run ends while it still hangs."""
        receiver.answer = "hang"
        done = self.run(joulewise, receiver, "--budget", "1s", "--", *SLEEP)

        assert done.returncode == 3
        assert receiver.asked.wait(60)
        assert not receiver.let_go.is_set()
        assert waiting(home / "alerts")

    def test_away_and_told_later(self, receiver, joulewise, home):
        """What nobody took is told by the end of a later run."""
        assert self.run(joulewise, receiver, "--budget", "1s", "--", *SLEEP, url="http://127.0.0.1:1/").returncode == 3  # fmt: skip
        assert waiting(home / "alerts")
        assert self.run(joulewise, receiver, "--", sys.executable, "-c", "pass").returncode == 0

        assert wait_for(lambda: receiver.told)
        assert receiver.bodies()[0]["event"] == "budget"

    def test_idle_while_it_goes_on(self, receiver, joulewise, tmp_path, home):
        """A run that computes nothing is told while it goes on, once; again after it computed; and not once more at its end."""
        program = (
            "import os, sys, time\n"
            "for mark in sys.argv[1:]:\n"
            "    until = time.process_time() + 0.5\n"
            "    while time.process_time() < until: pass\n"
            "    while not os.path.exists(mark): time.sleep(0.1)\n"
        )
        marks = [tmp_path / "one", tmp_path / "two"]

        def let_go() -> None:
            for number, mark in enumerate(marks, 1):
                wait_for(lambda n=number: len(receiver.told) >= n)
                mark.touch()

        thread = threading.Thread(target=let_go)
        thread.start()
        environment = {**os.environ, "JOULEWISE_ALERTS": receiver.url, "JOULEWISE_ALERT_IDLE_S": "2"}
        command = [sys.executable, "-c", program, *map(str, marks)]
        done = joulewise(
            "run", "--quiet", "--name", "digits", "--interval", "0.2", "--", *command, env=environment
        )
        thread.join()

        assert done.returncode == 0
        assert wait_for(lambda: not waiting(home / "alerts"))
        assert [(b["event"], b["facts"]["device"], b["facts"]["ended"]) for b in receiver.bodies()] == [("idle", "machine", False)] * 2  # fmt: skip
        assert "no process of the run has computed for" in str(receiver.bodies()[0]["text"])

    def test_settling(self, receiver, home, monkeypatch):
        """A saving that did not come, or cost quality, is told; one that was kept is not."""
        from joulewise.cli import settling_alerts
        from joulewise.cli.settle import _verdict
        from joulewise.vocabulary.figures import Basis, Figure
        from joulewise.vocabulary.finding import Cause, Settlement

        monkeypatch.setenv("JOULEWISE_ALERTS", receiver.url)
        share = Figure(0.3, 0.2, 0.4, Basis.MODELLED)
        less = Figure(0.01, -0.02, 0.04, Basis.MODELLED)
        kept = Settlement("a", "b", Cause.SMALL_BATCH, "J", share, share, share, 0.3, True, "loss 0.1")
        more = replace(kept, realised_share=Figure(0.8, 0.7, 0.9, Basis.MODELLED))
        for settled in (kept, more):
            settling_alerts.of_runs(settled, _verdict(settled), "30 %")
        assert waiting(home / "alerts") == []
        for settled in (replace(kept, realised_share=less), replace(kept, equal_quality=False)):
            settling_alerts.of_runs(settled, _verdict(settled), "1 %")

        assert wait_for(lambda: len(receiver.told) == 2)
        assert {b["event"] for b in receiver.bodies()} == {"settling"}
        assert "not kept: less than promised" in str(receiver.bodies()[0]["text"])
        assert "the quality is lower" in str(receiver.bodies()[1]["text"])

    def test_settling_placements(self, receiver, home, monkeypatch):
        """A job of the queue that was worse than running at once, or kept less than half of its promise, is told."""
        from datetime import UTC, datetime

        from joulewise.cli import settling_alerts
        from joulewise.vocabulary.settled import Report, Settled

        monkeypatch.setenv("JOULEWISE_ALERTS", receiver.url)

        def placed(promised_g: float, saved_g: float) -> Report:
            now = datetime(2026, 11, 1, tzinfo=UTC)
            return Report(
                (Settled("train", now, promised_g, 100.0, 100.0 - saved_g, 40.0, None, None, 0.0, ""),)
            )

        settling_alerts.of_placements("job train", placed(30.0, 28.0))
        settling_alerts.of_placements("job train", placed(0.0, 0.0))
        assert waiting(home / "alerts") == []
        settling_alerts.of_placements("job train", placed(30.0, -5.0))
        assert wait_for(lambda: len(receiver.told) == 1)
        settling_alerts.of_placements("job train", placed(30.0, 10.0))

        assert wait_for(lambda: len(receiver.told) == 2)
        assert [b["text"] for b in receiver.bodies()] == [
            "job train: worse than running at once, -5.00 g saved of 30.0 g",
            "job train: less than half of what was promised, 10.0 g saved of 30.0 g",
        ]


class TestVerb:
    def test_test_list_send(self, receiver, joulewise, monkeypatch):
        """The verb tries the address, lists what waits and sends it."""
        monkeypatch.setenv("JOULEWISE_ALERTS", receiver.url)
        assert joulewise("alerts", "test").stdout == "1 delivered\n"
        receiver.answer = 503
        refused = joulewise("alerts", "test")
        assert (refused.returncode, refused.stdout) == (1, "0 delivered, 1 wait (the receiver said 503)\n")
        assert "alerts arrive here" in joulewise("alerts", "list").stdout
        receiver.answer = 204
        assert json.loads(joulewise("alerts", "send", "--json").stdout)["taken"] == 1
        assert joulewise("alerts", "list").stdout == "no alert waits\n"

    def test_wrong_use(self, joulewise, monkeypatch):
        """No address, and an event that does not exist, are one line each."""
        none = joulewise("alerts", "test")
        monkeypatch.setenv("JOULEWISE_ALERT_EVENTS", "budget,fire")
        wrong = joulewise("config")

        assert (none.returncode, none.stderr.count("\n")) == (2, 1)
        assert "no address is set for alerts" in none.stderr
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
        assert "may hold budget, idle, settling" in wrong.stderr


def test_whole_or_not_at_all(tmp_path: Path, monkeypatch):
    """Half of an alert is never seen, whoever is killed while it is written."""

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dump", killed)
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path, Alert("idle", "x"))

    assert waiting(tmp_path) == []
