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
