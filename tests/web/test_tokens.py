"""Tokens over real HTTP: each shows its part of the ledger on every page, and what it does not show it does not name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the dashboard needs the extra web")
pytest.importorskip("uvicorn", reason="the dashboard needs the extra web")

from joulewise.ledger.index import list_runs
from joulewise.ledger.refreshing import refresh
from joulewise.ledger.store import open_store
from joulewise.ledger.tokens import Token, add_token, find_token, remove_token, see_only, tokens
from joulewise.measuring.summarising import summary
from joulewise.testing.ledger_contract import write_recording
from joulewise.vocabulary.errors import LedgerError, UnknownName, UsageError

WHOSE = {"ada-one": ("ada", "vision"), "bea-one": ("bea", "vision"), "cleo-one": ("cleo", "speech")}
PAGES = (
    "/",
    "/experiments",
    "/savings",
    "/queue",
    "/metrics",
    "/totals",
    "/totals?by=person",
    "/where",
    "/models",
)


def fill(runs: Path) -> dict[str, str]:
    """Write two recordings for each of three people and return the ids by name."""
    ids = {}
    for number, (name, (person, project)) in enumerate(WHOSE.items()):
        for again in range(2):
            folder = write_recording(
                runs, name, at=datetime.now(UTC) - timedelta(hours=number + 5 * again + 1)
            )
            with open(next(folder.iterdir()), "ab") as file:
                fd = file.fileno()
                append_meta(fd, person, project)
            ids[name] = folder.name
    return ids


def append_meta(fd: int, person: str, project: str) -> None:
    from joulewise.ledger.files import encode

    os.write(fd, encode({"k": "meta", "meta": {"person": person, "project": project}}))


def reader(
    people: tuple[str, ...] = (), projects: tuple[str, ...] = (), *, everything: bool = False
) -> Token:
    return Token("r", people, projects, everything, datetime.now(UTC))


class TestStores:
    @pytest.fixture(params=["file", pytest.param("server", marks=pytest.mark.service)])
    def place(self, request, tmp_path) -> str:
        return str(tmp_path / "ledger.db") if request.param == "file" else request.getfixturevalue("postgres_url")  # fmt: skip

    def test_narrowed(self, place, tmp_path):
        """A narrowed ledger shows the recordings of these people or projects, and takes nothing."""
        fill(tmp_path / "runs")
        whole = open_store(place)
        refresh(whole, tmp_path / "runs", summary)
        whole.close()

        def names(token: Token) -> set[str]:
            store = open_store(place)
            see_only(store, token)
            found = {run.name for run in list_runs(store, limit=None)}
            months = store.query("SELECT DISTINCT person FROM months")
            assert len(months) == len({WHOSE[n][0] for n in found})
            with pytest.raises(LedgerError):
                store.execute("DELETE FROM recordings")
            assert store.query("SELECT * FROM tokens") == store.query("SELECT * FROM leases") == []
            store.close()
            return found

        assert names(reader(("ada",))) == {"ada-one"}
        assert names(reader((), ("vision",))) == {"ada-one", "bea-one"}
        assert names(reader(("cleo",), ("vision",))) == set(WHOSE)
        assert names(reader(("nobody' OR '1'='1",), (":ada %s",))) == set()
        store = open_store(place)
        see_only(store, reader(everything=True))
        assert len(list_runs(store)) == 6
        store.close()

    def test_kept_as_a_hash(self, place):
        """The ledger keeps a hash; a token that is taken back, mistyped or empty is none."""
        store = open_store(place)
        text = add_token(store, "group", ("ada",), ("vision",))

        assert find_token(store, text) == tokens(store)[0]
        assert text not in json.dumps(store.query("SELECT * FROM tokens"))
        assert [find_token(store, wrong) for wrong in ("", text[:-1], text.upper())] == [None, None, None]
        with pytest.raises(UsageError, match="there is a token 'group' already"):
            add_token(store, "group", (), (), everything=True)
        with pytest.raises(UsageError, match="would show nothing"):
            add_token(store, "empty", (), ())
        with pytest.raises(UnknownName, match="did you mean group"):
            remove_token(store, "grupo")
        remove_token(store, "group")
        assert find_token(store, text) is None
        store.close()


class TestEveryRoute:
    """What a token does not show is named by no route there is, whatever is asked of it."""

    HIDDEN = ("cleo", "speech", "bea", "hush")  # people, projects, runs, jobs, pots, plans of others

    @pytest.fixture
    def whole(self, home: Path) -> dict[str, str]:
        """Fill every table that pages read from, for ada and for others; return what others have, and a token of ada's."""
        from joulewise import wiring
        from joulewise.ledger.pots import Pot, Spending
        from joulewise.ledger.savings import keep, keep_plan
        from joulewise.testing.queue_contract import add
        from joulewise.vocabulary.figures import Basis, Figure
        from joulewise.vocabulary.finding import Cause, Settlement
        from joulewise.vocabulary.settled import Report, Settled

        now = datetime.now(UTC)
        ids = fill(home / "runs")
        served = write_recording(home / "runs", "serve-hush", at=now, role="serve", params={"model": "hush-model"},
                                 values={"requests": 5, "answers_j": 1.0})  # fmt: skip
        with open(next(served.iterdir()), "ab") as file:
            append_meta(file.fileno(), "cleo", "speech")
        (home / "config" / "joulewise").mkdir(parents=True, exist_ok=True)
        (home / "config" / "joulewise" / "targets.toml").write_text(
            '[[budget]]\nperson = "ada"\nmonthly = "1kWh"\n[[budget]]\nproject = "speech"\nmonthly = "1kWh"\n'
            '[[budget]]\nzone = "hush"\nmonthly = "1kWh"\n[[target]]\nperson = "cleo"\nvalue = "1J"\nby = "2099-01"\n'
        )
        store = wiring.refresh()
        share = Figure(0.3, 0.2, 0.4, Basis.MODELLED)
        for name in WHOSE:
            pot = Pot(store, f"pot-{name}")
            pot.join({"energy_j": 100.0})
            pot.spend(ids[name], Spending(energy_j=60.0))
            one, two = (run.run_id for run in list_runs(store, limit=None) if run.name == name)
            keep(
                store,
                Settlement(
                    one, two, Cause.SMALL_BATCH, "J", share, share, share, 0.3, True, f"loss of {name}"
                ),
                now,
            )
        keep_plan(
            store,
            "plan-hush",
            Report((Settled("hush", now, 1.0, 2.0, 1.0, 1.0, None, None, 0.0, "kept"),)),
            now,
        )
        jobs = {owner: add(store, f"job-of-{owner}", owner=owner) for owner in ("ada", "cleo")}
        shared = Pot(store, "pot-ada-one")
        shared.spend(ids["cleo-one"], Spending(energy_j=7.0))
        key = add_token(store, "visitor", ["ada"], [])
        store.close()
        return {
            "key": key,
            "run": ids["cleo-one"],
            "job": jobs["cleo"],
            "own": ids["ada-one"],
            "own job": jobs["ada"],
        }

    def test_walked(self, whole, monkeypatch):
        """Each route is asked for what is ada's, for all, and for what is others'; none names what is not ada's."""
        pytest.importorskip("httpx2", reason="Starlette's test client needs httpx2")
        from starlette.routing import Route
        from starlette.testclient import TestClient

        from joulewise.web.site import site

        app = site(tokens=True)
        opened = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)
        opened.headers["authorization"] = f"Bearer {whole['key']}"
        others = ["q=cleo", "person=cleo", "project=speech", "by=zone", "by=host", "by=device", "by=person", "name=cleo-one",
                  f"run={whole['run']}&run={whole['own']}", f"run={whole['run']}", "month=2020-01", "zone=DE", "state=failed"]  # fmt: skip
        walked = set()
        for route in app.routes:
            assert isinstance(route, Route)
            walked.add(route.path)
            fills = {"run": (whole["own"], whole["run"], "latest", "cleo-one", "*"), "name": ("site.css", "secrets"),
                     "job": (whole["own job"], whole["job"], "latest", "job-of-cleo")}  # fmt: skip
            part = route.path.partition("{")[2].rstrip("}")
            for filled in fills.get(part, ("",)):
                for query in ("", *others):
                    path = route.path.replace(f"{{{part}}}", filled) if part else route.path
                    answer = opened.get(path + (f"?{query}" if query else ""))
                    text = answer.text
                    for told in (
                        query,
                        urllib.parse.unquote(query),
                        path,
                        *query.replace("=", "&").split("&"),
                        filled,
                    ):
                        text = text.replace(told, "") if told else text  # a page may repeat what it was asked
                    assert answer.status_code in (200, 404), (path, query)
                    assert not re.findall(rf"\b({'|'.join(self.HIDDEN)})\b", text), (path, query)
        assert {"/", "/totals", "/queue/{job}", "/metrics", "/models", "/where"} <= walked
        assert "pot-ada-one" in opened.get("/totals").text
        assert "60.0 J of 100 J used, 40.0 J left" in opened.get("/totals").text  # not cleo's 7 J
        assert "others may have drawn, too" in opened.get("/totals").text
        assert (
            opened.get(f"/runs/{whole['run']}").status_code
            == opened.get(f"/queue/{whole['job']}").status_code
            == 404
        )
        assert opened.post("/totals").status_code == 405


Asked = tuple[int, str, dict[str, str]]


@pytest.mark.service
class TestOverHttp:
    @pytest.fixture
    def served(self, home: Path) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
        """Serve a ledger of three people; yield address, tokens by name and run ids by name."""
        ids = fill(home / "runs")
        environment = {**os.environ, "JOULEWISE_HOME": str(home)}

        def joulewise(*arguments: str) -> str:
            done = subprocess.run([sys.executable, "-m", "joulewise", *arguments], env=environment, capture_output=True, text=True)  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        keys = {
            "ada": joulewise("token", "add", "ada", "--person", "ada"),
            "vision": json.loads(joulewise("token", "add", "v", "--project", "vision", "--json"))["token"],
            "all": joulewise("token", "add", "all", "--all"),
        }
        assert keys["all"] not in joulewise("token", "list")
        server = subprocess.Popen([sys.executable, "-m", "joulewise", "web", "--tokens", "--port", "0"], env=environment, stderr=subprocess.PIPE, text=True)  # fmt: skip
        assert server.stderr is not None
        match = re.search(r"http://\S+/", server.stderr.readline())
        assert match is not None
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s:
            with suppress(urllib.error.URLError), urllib.request.urlopen(f"{match[0]}healthz", timeout=5):
                break
            time.sleep(0.05)
        yield match[0].rstrip("/"), keys, ids
        server.terminate()
        server.wait(20)
        server.stderr.close()

    @pytest.fixture
    def ask(self, served) -> Callable[..., Asked]:
        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *arguments, **options):
                return None

        opener = urllib.request.build_opener(Stay)

        def get(path: str, key: str = "", body: bytes | None = None, **headers: str) -> Asked:
            given = {k.replace("_", "-"): v for k, v in headers.items()}
            if key:
                given["Authorization"] = f"Bearer {key}"
            request = urllib.request.Request(served[0] + path, body, given)
            try:
                with opener.open(request, timeout=30) as answer:
                    return (
                        answer.status,
                        answer.read().decode(),
                        {k.lower(): v for k, v in answer.headers.items()},
                    )
            except urllib.error.HTTPError as refused:
                with refused:
                    return (
                        refused.code,
                        refused.read().decode(),
                        {k.lower(): v for k, v in refused.headers.items()},
                    )

        return get

    def test_each_sees_its_part(self, served, ask):
        """On every page a token names its people's and projects' runs and no others; a wrong one gets 401 everywhere."""
        _, keys, ids = served
        shown = {"ada": {"ada-one"}, "vision": {"ada-one", "bea-one"}, "all": set(WHOSE)}
        for who in ("all", "ada", "vision", "ada"):  # in turn: what was kept for one is not shown to another
            for page in PAGES:
                status, text, _ = ask(page, keys[who])
                assert status == 200, page
                assert not {name for name in set(WHOSE) - shown[who] if name in text}, (who, page)
            assert shown[who] <= set(re.findall(r"\w+-one", ask("/", keys[who])[1]))
            for name, run_id in ids.items():
                status, text, _ = ask(f"/runs/{run_id}", keys[who])
                assert (status == 200) == (name in shown[who])
                assert status == 200 or name not in text.replace(run_id, "")
            assert ask("/runs/cleo", keys[who])[0] == (200 if who == "all" else 404)
        assert ask("/metrics", keys["ada"])[1].count('joulewise_runs{state="finished"} 2.0') == 1
        for page in (*PAGES, "/runs/latest", "/compare?run=latest&run=latest"):
            assert ask(page)[0] == 401
            assert ask(page, keys["ada"] + "x")[0] == 401
            assert (
                ask(page + ("&" if "?" in page else "?") + "token=" + keys["ada"])[0] == 401
            )  # not in addresses
        assert ask("/healthz")[0] == 200

    def test_log_in(self, ask, served):
        """The form opens the door with a cookie that no script reads; a wrong token stays outside; taken back is out."""
        _, keys, _ = served
        status, page, _ = ask("/", Accept="text/html")
        assert status == 401
        assert 'action="/login"' in page
        wrong = ask("/login", body=b"token=jw_wrong", Accept="text/html")
        assert wrong[0] == 401
        assert "set-cookie" not in wrong[2]
        assert ask("/login", body=b"token=" + b"x" * 10_000)[0] == 413
        status, _, headers = ask("/login", body=f"token={keys['ada']}".encode())
        assert (status, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        inside = ask("/", Cookie=cookie.partition(";")[0])
        assert inside[0] == 200
        assert "ada-one" in inside[1]
        assert "cleo-one" not in inside[1]
