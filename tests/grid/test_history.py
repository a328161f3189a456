"""History: files of the user's, and what was kept."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from joulewise.grid.history import History, read_file
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.signal import Factors, Kind, Meaning, Scope
from tests.grid.worlds import HOUR, START, signal, sunny

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def written(tmp_path):
    """Write a file and return its path."""

    def write(text, name="grid.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_columns(written):
    """The usual columns are found: times in UTC, lifecycle before direct, the estimate's mark, gaps, comments."""
    path = written(
        "# from somewhere\ndatetime_utc,ci_direct,ci_lifecycle,estimated\n"
        "2026-01-01T00:00Z,1,10,0\n2026-01-01T01:00Z,2,,0\n2026-01-01T03:00Z,4,40,1\n"
    )
    found = read_file(path, "DE")

    assert list(found.values) == [10, None, None, 40]
    assert found.meaning == Meaning()
    assert [p.estimated for p in found.points] == [False, False, False, True]
    assert found.source == "file grid.csv"
    assert read_file(path, "DE", column="ci_direct").meaning.factors is Factors.DIRECT


@pytest.mark.parametrize(
    ("name", "meaning", "value"),
    [
        ("Carbon intensity gCO2eq/kWh (Life cycle)", Meaning(), 50),
        ("marginal_intensity", Meaning(kind=Kind.MARGINAL), 50),
        ("production_co2", Meaning(scope=Scope.PRODUCTION), 50),
        ("price_eur_per_mwh", Meaning.price("EUR"), 0.05),
        ("price_usd_per_kwh", Meaning.price("USD"), 50),
    ],
)
def test_meaning_by_name(written, name, meaning, value):
    """The column's name says what its values mean; prices per MWh are put into per kWh."""
    found = read_file(written(f"time,{name}\n2026-01-01T00:00Z,50\n"), "DE")

    assert found.meaning == meaning
    assert found.values == (value,)


def test_out_of_order_and_doubled(written):
    """Rows out of order are sorted, and of doubled rows the later counts."""
    path = written("time,value\n2026-01-01T01:00Z,2\n2026-01-01T00:00Z,1\n2026-01-01T01:00Z,3\n")

    assert read_file(path, "DE").values == (1, 3)


@pytest.mark.parametrize(
    ("night", "hours", "utc_start"),
    [("2025-10-26", ["00", "01", "02", "02", "03"], 22), ("2026-03-29", ["00", "01", "03", "04"], 23)],
)
def test_local_nights(written, night, hours, utc_start):
    """In the night of the clock change a doubled hour is read twice and a missing one leaves no gap."""
    rows = "".join(f"{night} {hour}:00,{n}\n" for n, hour in enumerate(hours))
    found = read_file(written("time,value\n" + rows), "DE", timezone=BERLIN)

    assert found.values == tuple(range(len(hours)))
    assert found.start_utc.hour == utc_start


def test_an_hour_that_does_not_exist(written):
    """A local time that the clock jumped over is refused."""
    path = written("time,value\n2026-03-29 02:00,1\n")

    with pytest.raises(UsageError, match="does not exist in Europe/Berlin"):
        read_file(path, "DE", timezone=BERLIN)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("time,value\n", "has no rows"),
        ("hour,value\n1,2\n", "no column of times"),
        ("time,temperature\n2026-01-01T00:00Z,1\n", "no column of intensities"),
        ("time,price\n2026-01-01T00:00Z,1\n", "does not tell its currency"),
        ("time,value\nyesterday,1\n", "is no time"),
        ("time,value\n2026-01-01 00:00,1\n", "has no offset"),
        ("time,value\n2026-01-01T00:00Z,much\n", "line 2: 'much' is no number"),
        ("time,value\n2026-01-01T00:00Z,inf\n", "is no number"),
        ("time,value\n2026-01-01T00:00Z\n", "line 2: the row is cut off"),
        (
            "time,value\n2026-01-01T00:00Z,1\n2026-01-01T01:00Z,1\n2026-01-01T01:25Z,1\n2026-01-01T03:00Z,1\n",
            "even steps",
        ),
        ("time,value\n2026-01-01T00:00Z,1\n2026-01-01T01:00Z,1\n2926-01-01T01:00Z,1\n", "mistyped"),
    ],
)
def test_refused(written, text, why):
    """What cannot be read is refused in one line that says where."""
    with pytest.raises(UsageError, match=why) as caught:
        read_file(written(text), "DE")

    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_there(written):
    """A column that was named must be there."""
    with pytest.raises(UsageError, match="no column 'x'; it has time, value"):
        read_file(written("time,value\n2026-01-01T00:00Z,1\n"), "DE", column="x")


def test_no_text(tmp_path):
    """A file that is no text is refused."""
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00time")

    with pytest.raises(UsageError, match="cannot read"):
        read_file(tmp_path / "a.csv", "DE")


def test_parquet(tmp_path):
    """A Parquet file reads as the same table in CSV does."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra 'parquet'")
    pyarrow = pytest.importorskip("pyarrow")
    times = [datetime(2026, 1, 1, n, tzinfo=UTC) for n in range(3)]
    parquet.write_table(
        pyarrow.table({"datetime": times, "intensity": [1.0, None, 3.0]}), tmp_path / "a.parquet"
    )

    assert read_file(tmp_path / "a.parquet", "DE").values == (1, None, 3)
    (tmp_path / "b.parquet").write_text("no parquet")
    with pytest.raises(UsageError, match="cannot read"):
        read_file(tmp_path / "b.parquet", "DE")


def test_shared_data():
    """The shared hourly series read whole: two years without a gap, estimates marked."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "carbon" / "hourly"
    if not folder.is_dir():
        pytest.skip("the shared data is not here")

    found = read_file(folder / "SG_2022-2023.csv", "SG")

    assert (len(found), found.gaps) == (17520, 0)
    assert found.estimated_share == pytest.approx(0.08, abs=0.01)


def test_kept(tmp_path):
    """What is kept comes back; later answers join earlier ones and correct them."""
    history = History(tmp_path / "grid")
    history.add(signal([1, 2, None, 4], source="a"))
    history.add(signal([20, 30], START + HOUR, source="a"))

    past = history.past("DE")
    assert past is not None
    assert list(past.values) == [1, 20, 30, 4]
    assert past.source == "a"
    assert history.kept_until("DE", "a") == START + 4 * HOUR
    assert history.kept_until("DE", "b") is None
    assert history.past("FR") is None
    assert history.zones() == ["DE"]


def test_forecasts_are_kept_by_issue(tmp_path):
    """Each forecast is kept as it was issued, and a replay gets the one of its time."""
    history = History(tmp_path)
    for n in (0, 6, 3):
        history.add(signal([n] * 4, START + n * HOUR, issued_utc=START + n * HOUR, source="a"))

    assert [s.values[0] for s in history.issues("DE")] == [0, 3, 6]
    told = history.published("DE", START + 5 * HOUR)
    assert told is not None
    assert told.values[0] == 3
    assert history.published("DE", START - HOUR) is None
    assert history.past("DE") is None


def test_old_forecasts_are_thinned(tmp_path):
    """Forecasts of the last three days are all kept, older ones one in six hours, those of a third of a year ago none."""
    history = History(tmp_path)
    for hours in (0, *range(3000, 3100)):
        history.add(signal([1], START + hours * HOUR, issued_utc=START + hours * HOUR, source="a"))

    issued = [(s.start_utc - START) // HOUR for s in history.issues("DE")]
    assert 0 not in issued
    assert [h for h in issued if h >= 3028] == list(range(3028, 3100))
    assert [h for h in issued if h < 3024] == [3000, 3006, 3012, 3018]


def test_the_best_meaning(tmp_path):
    """Of several meanings the average, lifecycle, consumption one is taken; a price never; each can be asked for."""
    history = History(tmp_path)
    marginal = Meaning(Kind.MARGINAL, Factors.DIRECT, Scope.PRODUCTION)
    for n, meaning in enumerate(
        (Meaning.price("EUR"), marginal, Meaning(factors=Factors.DIRECT), Meaning(scope=Scope.PRODUCTION))
    ):
        history.add(signal([n], meaning=meaning, source="a"))
        history.add(signal([n], meaning=meaning, source="a", issued_utc=START))

    best = history.past("DE")
    assert best is not None
    assert best.meaning == Meaning(scope=Scope.PRODUCTION)
    found = history.past("DE", marginal)
    assert found is not None
    assert list(found.values) == [1]
    assert {s.meaning for s in history.issues("DE")} == {best.meaning}


def test_private(tmp_path):
    """Folders and files are for the user alone, and a zone's name leaves no folder."""
    history = History(tmp_path / "grid")
    history.add(replace(sunny(3), zone="../../evil", source="a/../b"))

    kept = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert kept
    assert all(p.stat().st_mode & 0o077 == 0 for p in kept)
    assert all((tmp_path / "grid") in p.parents for p in kept)
    again = history.past("../../evil")
    assert again is not None


def test_a_damaged_file(tmp_path):
    """A file that was damaged counts as not there, and is written anew."""
    history = History(tmp_path)
    history.add(signal([1], source="a"))
    (path,) = tmp_path.rglob("actual.json")
    path.write_text(path.read_text()[:20])

    assert history.past("DE") is None
    history.add(signal([2], source="a"))
    past = history.past("DE")
    assert past is not None
    assert list(past.values) == [2]
    assert not list(Path(tmp_path).rglob(f"*{os.getpid()}.new"))


def test_times_of_the_file_with_offsets(written):
    """Times with offsets are put into UTC."""
    found = read_file(written("time,value\n2026-01-01T01:00+01:00,1\n2026-01-01T02:00+01:00,2\n"), "DE")

    assert found.start_utc == datetime(2026, 1, 1, tzinfo=UTC)
    assert found.end_utc - found.start_utc == timedelta(hours=2)
