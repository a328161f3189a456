"""Fetching: polite, kept, and without secrets (what all sources share is in their contract)."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from joulewise.grid.fetching import Fetcher, Request
from joulewise.testing.clock import FakeClock
from joulewise.testing.grid import GridServices
from joulewise.vocabulary.errors import GridError

NOW = datetime(2026, 3, 30, 9, 20, tzinfo=UTC)


@pytest.fixture
def clock():
    return FakeClock(NOW)


@pytest.fixture
def services(clock):
    pytest.importorskip("httpx", reason="asking services needs the extra 'online'")
    with GridServices(clock) as services:
        yield services


@pytest.fixture
def request_(services):
    return Request(f"{services.base('uk')}/intensity/2026-03-30T00:00Z/fw24h")


def test_kept_only_for_so_long(services, clock, request_, tmp_path):
    """A kept answer counts while it is fresh, and after a clock set back it does not."""
    fetcher = Fetcher(tmp_path, clock, clock.sleep)
    for seconds, asked in ((0, 1), (1700, 1), (200, 2)):
        clock.sleep(seconds)
        fetcher.json("UK", request_, 1800)
        assert len(services.requests) == asked
    clock.set_utc(NOW - timedelta(days=1))
    fetcher.json("UK", request_, 1800)
    assert len(services.requests) == 3


def test_old_answers_are_cleared(services, clock, request_, tmp_path):
    """Answers of three days ago are deleted when a new one is kept; younger ones stay."""
    old, young = tmp_path / "old.txt", tmp_path / "young.txt"
    for path, days in ((old, 3), (young, 1)):
        path.write_text("1\n{}")
        os.utime(path, (time.time() - days * 86400,) * 2)

    Fetcher(tmp_path, clock, clock.sleep).json("UK", request_, 1800)

    assert not old.exists()
    assert young.exists()


def test_nothing_kept(services, clock, request_, tmp_path):
    """Answers that must not be kept (logins) are not, and without a folder nothing is."""
    Fetcher(tmp_path, clock, clock.sleep).json("UK", request_, 0)
    Fetcher(None, clock, clock.sleep).json("UK", request_, 1800)

    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(services, clock, request_, tmp_path):
    """Where nothing can be kept the answer still comes."""
    blocked = tmp_path / "file"
    blocked.write_text("no folder")

    assert Fetcher(blocked, clock, clock.sleep).json("UK", request_, 1800)["data"]


def test_a_torn_answer_is_not_kept(services, clock, request_, tmp_path):
    """A cut-off answer is not taken from the kept ones the next time."""
    fetcher = Fetcher(tmp_path, clock, clock.sleep)
    services.fault, services.fault_times = "torn", 1
    with pytest.raises(GridError, match="cut off"):
        fetcher.json("UK", request_, 1800)

    assert fetcher.json("UK", request_, 1800)["data"]


def test_retry_after_as_a_date(services, clock, request_, tmp_path):
    """Retry-After may be a date; where it cannot be read, a minute is kept."""
    fetcher = Fetcher(tmp_path, clock, clock.sleep)
    services.fault, services.retry_after = "429", "Mon, 30 Mar 2026 09:50:00 GMT"
    with pytest.raises(GridError, match="for 1800 s"):
        fetcher.json("UK", request_, 1800)
    with pytest.raises(GridError, match="another 1800 s"):
        fetcher.json("UK", request_, 1800)

    services.retry_after = "soon"
    with pytest.raises(GridError, match="for 60 s"):
        fetcher.json("other", request_, 1800)


def test_pauses_grow(services, clock, request_):
    """Between three tries the pause doubles."""
    services.fault = "503"
    begun = clock.monotonic_s()

    with pytest.raises(GridError, match="asked 3 times"):
        Fetcher(None, clock, clock.sleep).json("UK", request_, 0)
    assert clock.monotonic_s() - begun == pytest.approx(3)
    assert len(services.requests) == 3


def test_nobody_there(clock):
    """A service that cannot be reached is one line without its address."""
    pytest.importorskip("httpx", reason="asking services needs the extra 'online'")

    with pytest.raises(GridError, match="UK cannot be reached") as caught:
        Fetcher(None, clock, clock.sleep).json("UK", Request("http://127.0.0.1:1/?key=s3cret"), 0)
    assert "s3cret" not in str(caught.value)


def test_without_httpx(clock, monkeypatch):
    """Without the extra the line says what to install."""
    monkeypatch.setitem(sys.modules, "httpx", None)

    with pytest.raises(GridError, match=r"pip install 'joulewise\[online\]'"):
        Fetcher(None, clock, clock.sleep).json("UK", Request("http://127.0.0.1:1/"), 0)


def test_secrets_do_not_show():
    """A request prints no secret, and is kept under the same name with any key."""
    one, other = (Request("u", {"a": "b"}, {"key": s}, {"auth": s}, (s, s)) for s in ("s3cret", "other"))

    assert "s3cret" not in repr(one)
    assert one.name == other.name != Request("u", {"a": "c"}).name
