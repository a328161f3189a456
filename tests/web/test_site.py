"""The dashboard: every page over real recordings, deaf to hostile names and hosts; in a real Chromium it is pleasant to use."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the dashboard needs the extra web")
pytest.importorskip("httpx2", reason="Starlette's test client needs httpx2")
pytest.importorskip("uvicorn", reason="the dashboard needs the extra web")

from starlette.testclient import TestClient

from joulewise.diagnosing.settling import settle
from joulewise.ledger.files import RecordingFile, boot_id, new_run_id, process_start, run_folder
from joulewise.ledger.savings import keep
from joulewise.ledger.store import open_store
from joulewise.testing.ledger_contract import write_recording
from joulewise.testing.queue_contract import add as add_job
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.moments import month_before
from joulewise.web.shelf import PAGE, Query
from joulewise.web.site import site

HOSTILE = "<script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>"
PAGES = [
    "/",
    "/runs/latest",
    "/compare?run=one&run=two",
    "/experiments",
    "/experiment?name=one",
    "/savings",
    "/grid?zone=DE",
    "/totals",
    "/totals?by=person",
    "/where",
    "/models",
]


def client(**options: Any) -> TestClient:
    return TestClient(site(**options), base_url="http://127.0.0.1", raise_server_exceptions=True)


@pytest.fixture
def runs(home: Path) -> Path:
    """Return the folder of the recordings: three of `one`, two of `two`, one of each failed."""
    folder = home / "runs"
    now = datetime.now(UTC).replace(microsecond=0)
    for number in range(5):
        name = ("one", "two")[number % 2]
        write_recording(folder, name, at=now - timedelta(hours=number + 1))
    write_recording(folder, "one", at=now - timedelta(hours=9), end="failed")
    return folder


def start_team(home: Path) -> None:
    """Write four months of a team with hostile names, its targets and budgets, two jobs, and two serving periods."""
    now = datetime.now(UTC)
    store = open_store(home / "ledger.db")
    for name in ("nightly", HOSTILE):
        add_job(store, name)
    store.close()
    for back in range(4):
        at = datetime.fromisoformat(f"{month_before(f'{now:%Y-%m}', back)}-01T00:00:00+00:00")
        for person, project in (("ada", "vision"), (HOSTILE, HOSTILE)):
            meta = {"person": person, "project": project, "zone": "DE"}
            write_recording(home / "runs", "team", at=at, length_s=3600.0 * (back + 1), meta=meta)
    folder = home / "config" / "joulewise"
    folder.mkdir(parents=True)
    (folder / "targets.toml").write_text(
        '[[target]]\nproject = "vision"\nwhat = "joules/epoch"\nvalue = "1MJ"\nby = "2099-01"\n'
        '[[target]]\nwhat = "grams"\nbaseline = "2020-01"\nreduce = "20%"\nby = "2099-01"\n'
        '[[budget]]\nproject = "vision"\nmonthly = "10kJ"\n[[budget]]\nmonthly = "1kWh"\n'
    )
    for hours, model in ((1, "digits"), (20, "digits"), (3, HOSTILE)):
        counted = {"requests": 1000, "cache_hits": 200, "cache_shared": 50, "answers_j": 900.0, "requests_cpu_s": 30.0,
                   "standing_by_cpu_s": 60.0, "rows:int8": 700, f"rows:{HOSTILE}": 300}  # fmt: skip
        write_recording(
            home / "runs",
            "serve",
            at=now - timedelta(hours=hours),
            role="serve",
            params={"model": model},
            values=counted,
        )


def start_running(folder: Path, name: str = "live") -> RecordingFile:
    """Write the beginning of a recording whose process is alive (this one)."""
    import os

    at = datetime.now(UTC)
    run_id, host, pid = new_run_id(name, at), os.uname().nodename, os.getpid()
    file = RecordingFile(run_folder(folder, run_id), f"run-{host}-{pid}.jsonl")
    file.append("head", format=1, run=run_id, name=name, role="run", host=host, boot=boot_id(), pid=pid,
                pid_start=process_start(pid), utc=at.isoformat(), mono=time.monotonic(), interval_s=1.0, command=["train"])  # fmt: skip
    device = {"id": "rapl:0", "component": "cpu", "meter": "rapl", "basis": 0, "boundary": "device",
              "error_low": 0.05, "error_high": 0.05, "source": "test"}  # fmt: skip
    file.append("devices", devices=[device])
    file.append("columns", devices=["rapl:0"], counters=[], gauges=[])
    file.append("tick", t=0.0, j=[0.0], c=[], g=[])
    file.append("tick", t=1.0, j=[50.0], c=[], g=[])
    return file


class TestPages:
    @pytest.mark.parametrize("page", PAGES)
    def test_every_page_answers(self, runs, page):
        """Every page is whole HTML that asks nothing of anybody else, with the headers that keep it so."""
        answer = client().get(page)

        assert answer.status_code == 200
        assert answer.text.endswith("</html>")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert not re.findall(r"""(?:src|href)=["'](?!/|#|data:,)""", answer.text)
        assert "style=" not in answer.text

    @pytest.mark.parametrize("page", PAGES[:1] + PAGES[3:])
    def test_without_a_recording(self, home, page):
        """A ledger without recordings says how to make one, or that there is none."""
        answer = client().get(page)
        assert answer.status_code == (404 if "experiment?" in page else 200)

    def test_hostile_names_are_text(self, home):
        """What a recording calls itself is text on every page."""
        for at in (1, 2):
            write_recording(home / "runs", HOSTILE, at=datetime.now(UTC) - timedelta(hours=at))
        opened = client()
        rows = opened.get("/").text
        assert "&lt;script&gt;alert(1)" in rows
        hrefs = re.findall(r'href="(/runs/[^"]+)"', rows) + re.findall(
            r'href="(/experiment\?[^"]+)"', opened.get("/experiments").text
        )
        assert len(hrefs) == 3
        for href in (*hrefs, "/?q=%3Cscript%3E", f"/grid?zone={HOSTILE}"):
            text = opened.get(href.replace("&amp;", "&")).text
            assert "<script>alert" not in text
            assert "<img" not in text

    def test_totals(self, runs):
        """The month's rows lead to a project's people and to where its joules went; budgets and targets stand beside."""
        start_team(runs.parent)
        text = client().get("/totals").text

        assert 'href="/totals?by=person&amp;month=' in text
        assert 'href="/where?project=vision' in text
        assert "over by" in text
        assert "on course" in text
        assert "CO₂e, average, lifecycle" in text
        assert "<script>alert" not in text
        assert "<img" not in text
        vision = client().get("/totals?project=vision&by=person").text
        assert "everybody" not in vision.lower().replace(">everybody</a>", "")

    def test_where_it_went(self, runs):
        """A month divides into the wastes; what was served stands by by its own count, and all adds up."""
        start_team(runs.parent)
        text = client().get("/where").text
        shares = [float(s) for s in re.findall(r'data-label="share">([0-9.]+) %', text)]

        assert sum(shares) == pytest.approx(100, abs=0.4)
        assert "always-on serving" in text
        assert "<script>alert" not in text
        assert "data-live" not in text

    def test_served_models(self, runs):
        """A model's periods are one row: requests, joules of one, standing by, cache and variants."""
        start_team(runs.parent)
        text = client().get("/models").text

        assert 'data-label="requests">2,000' in text
        assert ">67%<" in text
        assert "int8 70%" in text
        assert "<script>alert" not in text

    def test_filters(self, runs):
        """State, words and order choose what is listed."""
        opened = client()
        assert "1 run." in opened.get("/?state=failed").text
        assert "2 runs." in opened.get("/?q=two").text
        assert "No run fits." in opened.get("/?q=nothing-of-the-sort").text
        names = re.findall(r'<a href="/runs/[^"]+">(\w+)</a>', opened.get("/?order=name").text)
        assert names == sorted(names)

    def test_pages_of_the_list(self, home):
        """A long list is cut into pages that lead to each other."""
        for number in range(PAGE + 1):
            write_recording(home / "runs", "many", at=datetime.now(UTC) - timedelta(minutes=number))
        first = client().get("/?q=many").text
        assert "page 1 of 2" in first
        assert 'href="/?q=many&amp;page=2" rel="next"' in first
        assert client().get("/?q=many&page=2").text.count('name="run"') == 1

    def test_the_experiment(self, runs):
        """An experiment's page says what failed and what share of its joules that was."""
        text = client().get("/experiment?name=one").text
        assert "4 ended runs" in text
        assert "25 % of it bought nothing" in text

    def test_savings(self, runs):
        """What was settled stands with promise and outcome."""
        from joulewise import wiring

        before, after = (wiring.account(r) for r in wiring.repeats("one")[:2])
        with_store = wiring.store()
        keep(with_store, settle([before], [after], None, (None, None)), datetime.now(UTC))
        with_store.close()
        assert before.recording.run_id in client().get("/savings").text

    def test_a_running_run_renews_itself(self, runs):
        """A run that goes on is marked to be renewed, and the renewed page holds what came since."""
        file = start_running(runs)
        opened = client()
        before = opened.get("/runs/live").text
        assert 'data-live="/runs/' in before
        assert 'data-live="/"' not in before
        assert "data-live=" in opened.get("/").text
        file.append("tick", t=60.0, j=[3000.0], c=[], g=[])
        after = opened.get("/runs/live").text
        assert after != before
        file.append("end", state="finished", t=61.0, exit_code=0, reason="")
        file.close()
        assert "data-live=" not in opened.get("/runs/live").text

    @pytest.mark.parametrize(
        ("page", "said"),
        [
            ("/runs/nope", "unknown recording"),
            ("/compare?run=one", "comparing needs two runs"),
            ("/experiment?name=nope", "no ended run is named"),
            ("/?page=0", "pages count from 1"),
            ("/?page=x", "must be a whole number"),
            ("/?state=dead", "unknown state"),
            ("/totals?month=2026", "must be a month"),
            ("/totals?by=planet", "unknown grouping"),
            ("/where?month=x", "must be a month"),
            ("/where?project=%00", "holds a zero byte"),
            ("/nowhere", "Not Found"),
            ("/static/../site.py", "Not Found"),
        ],
    )
    def test_bad_addresses(self, runs, page, said):
        """What cannot be shown is a page of one sentence."""
        answer = client().get(page)
        assert answer.status_code == 404
        assert said in answer.text

    def test_a_recording_of_another_machine(self, runs):
        """A run whose files are elsewhere is said to be so."""
        import shutil

        opened = client()
        opened.get("/")
        shutil.rmtree(next(runs.glob("*/*-two-*")))
        assert opened.get("/").status_code == 200

    def test_an_unknown_zone(self, home):
        """A zone that nobody knows is answered on the page, with near ones."""
        assert "unknown" in client().get("/grid?zone=XX").text

    def test_query_refuses(self):
        """A query that means nothing is refused where it is made."""
        with pytest.raises(UsageError):
            Query(page=0)


class TestQueue:
    @pytest.fixture
    def submitted(self, runs, monkeypatch) -> str:
        """Submit two jobs by the verb; return the id of the first."""
        import json

        monkeypatch.setenv("JOULEWISE_ZONE", "DE")
        ids = []
        for name in ("night", HOSTILE):
            done = subprocess.run(
                [sys.executable, "-m", "joulewise", "submit", "--deadline", "+20h", "--duration", "2h", "--name", name, "--json", "--",
                 sys.executable, "-c", "pass"],
                capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            ids.append(json.loads(done.stdout)["job"])
        return str(ids[0])

    def test_jobs_and_their_hours(self, submitted):
        """What waits is listed with its planned hours and the reason, and hostile names are text."""
        text = client().get("/queue").text
        assert "2 queued" in text
        assert f'href="/queue/{submitted}"' in text
        assert 'class="memory" d="M' in text
        assert "No worker is there to run what waits" in text
        assert "<script>alert" not in text

    def test_a_job(self, submitted):
        """A job's page tells what was asked, what is planned, and its story."""
        text = client().get(f"/queue/{submitted}").text
        assert "Planned hours" in text
        assert "Its story" in text
        assert client().get("/queue/nope").status_code == 404


class TestDoor:
    def test_other_hosts_are_refused(self, runs):
        """A request that names another host is refused: no page elsewhere can read the ledger through a browser."""
        assert client().get("/", headers={"host": "evil.example"}).status_code == 400
        assert client(hosts=("box.lan",)).get("/", headers={"host": "box.lan:8484"}).status_code == 200

    def test_the_token(self, runs):
        """Without the token nothing is shown; the address brings it once, then the cookie does."""
        opened = client(token="secret-token")
        assert opened.get("/").status_code == 401
        assert opened.get("/static/site.css").status_code == 401
        assert opened.get("/?token=wrong").status_code == 401
        assert opened.get("/", headers={"authorization": "Bearer secret-token"}).status_code == 200
        first = opened.get("/?q=one&token=secret-token", follow_redirects=False)
        assert (first.status_code, first.headers["location"]) == (303, "/?q=one")
        cookie = first.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert opened.get("/").status_code == 200

    def test_it_only_reads(self, runs):
        """No page takes anything but GET."""
        for method in ("POST", "PUT", "DELETE"):
            assert client().request(method, "/").status_code == 405


class TestTokens:
    @pytest.fixture
    def asks(self, runs) -> Any:
        """Return a client with a token that shows the project `vision` only."""
        from joulewise import wiring
        from joulewise.ledger.tokens import add_token

        start_team(runs.parent)
        store = wiring.refresh()
        bearer = add_token(store, "visitor", [], ["vision"])
        store.close()
        opened = client(tokens=True)
        opened.headers["authorization"] = f"Bearer {bearer}"
        return opened

    def test_sums_hold_what_it_shows(self, asks):
        """Totals, wastes and models of others are in no figure, and targets and budgets of others are not named."""
        text = asks.get("/totals").text

        assert "vision" in text
        assert "script" not in re.sub(r"<script src[^>]*></script>", "", text)
        assert "everybody" not in text.replace("Everybody", "")
        assert "Left of the budgets" in text
        where = asks.get("/where").text
        assert "1 recording used" in where
        assert sum(float(s) for s in re.findall(r'data-label="share">([0-9.]+) %', where)) == pytest.approx(
            100, abs=0.4
        )
        assert "No model has been served yet" in asks.get("/models").text


class TestVerb:
    @pytest.fixture
    def served(self, runs) -> Iterator[str]:
        """Start the verb and return its address."""
        command = [sys.executable, "-m", "joulewise", "web", "--port", "0"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            said = process.stderr.readline()
            yield said.split("is at ")[1].split()[0]
            process.terminate()
            assert process.wait(20) in (0, -15)

    def test_serves(self, served):
        """The verb says where it is, and is there."""
        import httpx2 as httpx

        assert "Runs" in httpx.get(served, timeout=20).text

    def test_wrong_use(self, home):
        """A port that is taken is one line and exit code 2."""
        import socket

        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            done = subprocess.run(
                [sys.executable, "-m", "joulewise", "web", "--port", port],
                capture_output=True,
                text=True,
                timeout=60,
            )
        assert done.returncode == 2
        assert done.stderr.startswith(f"joulewise: cannot listen on 127.0.0.1 port {port}: ")
        assert done.stderr.count("\n") == 1


@pytest.mark.service
class TestInChromium:
    @pytest.fixture
    def address(self, runs) -> Iterator[str]:
        """Serve the site from a thread."""
        import uvicorn

        server = uvicorn.Server(uvicorn.Config(site(), port=0, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        thread.join(20)

    def open(
        self, browser: Any, address: str, page: str, width: int = 1280, scheme: str = "light"
    ) -> tuple[Any, list[str]]:
        opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        heard: list[str] = []
        opened.on("console", lambda message: heard.append(f"console: {message.text}"))
        opened.on("pageerror", lambda error: heard.append(f"error: {error}"))
        opened.on(
            "request",
            lambda r: None if r.url.startswith((address, "data:,")) else heard.append(f"asked {r.url}"),
        )
        opened.goto(address + page)
        return opened, heard

    @pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
    @pytest.mark.parametrize("page", [*PAGES, "/queue", "/queue/latest"])
    def test_accessible(self, browser, address, page, width, scheme, home):
        """On phone and desktop, dark and light: axe finds nothing, nothing is wider than the screen, nobody else is asked."""
        start_team(home)
        axe = pytest.importorskip("axe_playwright_python.sync_playwright")
        opened, heard = self.open(browser, address, page, width, scheme)
        found = axe.Axe().run(opened).response["violations"]

        assert [(v["id"], v["impact"], v["nodes"][0]["html"]) for v in found] == []
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert heard == []
        opened.close()

    def test_from_the_list_to_a_comparison(self, browser, address):
        """A user ticks two runs and compares them, opens one, and goes back, by mouse and by keyboard."""
        opened, heard = self.open(browser, address, "/")
        boxes = opened.locator("input[name=run]")
        boxes.nth(0).check()
        boxes.nth(1).focus()
        opened.keyboard.press("Space")
        opened.get_by_role("button", name="Compare chosen runs").click()
        assert opened.locator("h1").inner_text() == "Comparison"
        opened.locator(".bars a").first.click()
        assert opened.locator("#h-power").inner_text() == "Power over time"
        opened.get_by_role("link", name="Runs", exact=True).click()
        opened.get_by_label("Look for").fill("two")
        opened.keyboard.press("Enter")
        opened.wait_for_url("**/?q=two*")
        assert opened.locator("input[name=run]").count() == 2
        assert heard == []
        opened.close()

    def test_live(self, browser, address, runs):
        """While a run goes on its page renews itself; an opened part stays open; at its end it stops."""
        file = start_running(runs)
        opened, heard = self.open(browser, address, "/runs/live")
        opened.locator("summary").click()
        assert "50.0 W" in opened.locator("#h-power + .lead").inner_text()
        file.append("tick", t=2.0, j=[450.0], c=[], g=[])
        opened.locator("#h-power + .lead", has_text="400 W at most").wait_for(timeout=20_000)
        assert opened.locator("table.numbers").is_visible()
        opened.locator("#power .plot").hover()
        assert opened.locator(".readout").is_visible()
        opened.locator("h1").hover()
        file.append("end", state="finished", t=3.0, exit_code=0, reason="")
        file.close()
        opened.wait_for_selector("main:not([data-live])", timeout=20_000)
        assert heard == []
        opened.close()
