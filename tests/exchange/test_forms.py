"""The forms that others read: every figure in its unit, every text harmless, every unknown empty or refused."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import pytest

from joulewise.catalogue.place import place
from joulewise.exchange import boamps, codecarbon, latex, model_card, rows, sci
from joulewise.measuring.accounting import Account, account
from joulewise.testing.meters import device
from joulewise.testing.recordings import recording
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.recording import Component, Point

PACKAGE = device("rapl:package-0", Component.CPU, error=0.05)
HOSTILE = '=HYPERLINK("http://evil.example")\x1b[31m,"x\n'


def run(name: str = "digits", *, watts: float = 100.0, **changes) -> Account:
    points = [Point(float(n), {"epoch": n, "samples": 1000 * n, "accuracy": 0.9}) for n in (1, 2)]
    made = recording([PACKAGE], {PACKAGE.id: watts}, seconds=100, points=points, name=name)
    made = dataclasses.replace(made, metadata={"zone": "DE", "python_version": "3.11.7"}, **changes)
    return account(made, place("DE", chassis="server"))


def unread() -> Account:
    made = recording([], {}, seconds=100)
    return account(made, place("DE", chassis="server"))


class TestRows:
    def test_figures_and_sources(self):
        """A row carries each figure with interval and basis, each factor with its source."""
        account = run()
        (row,) = csv.DictReader(io.StringIO(rows.write([account])))
        assert float(row["energy_kwh"]) == pytest.approx(account.footprint.total_j.value / JOULES_PER_KWH)
        assert float(row["energy_kwh_low"]) < float(row["energy_kwh"]) < float(row["energy_kwh_high"])
        assert row["carbon_g_basis"] == "assumed"
        assert "OWID" in row["intensity_source"]
        assert list(row) == rows.columns()

    def test_unknown_is_empty(self):
        """What is unknown is an empty cell and no zero."""
        (row,) = csv.DictReader(io.StringIO(rows.write([unread()])))
        assert (row["energy_kwh"], row["carbon_g"], row["cost"]) == ("", "", "")

    def test_no_formula(self):
        """A name that a spreadsheet would run is text (CWE-1236), on one line."""
        (row,) = csv.DictReader(io.StringIO(rows.write([run(HOSTILE)])))
        assert row["name"].startswith("'=HYPERLINK")
        assert "\x1b" not in row["name"]


class TestLatex:
    def test_bibtex_cites_what_was_used(self):
        """The intensity's source is cited once, however many runs used it."""
        text = latex.bibtex([run(), run("other")])
        assert text.count("@misc{") == 1
        assert "OWID" in text
        assert text.count("{") == text.count("}")


class TestModelCard:
    def test_front_matter(self):
        """The front matter is YAML with the Hub's fields; emissions are grams of all runs together."""
        account = run()
        text = model_card.write([account, account], "fine-tuning")
        front = text.split("---")[1]
        assert "co2_eq_emissions:\n  emissions: " in front
        emitted = float(front.split("emissions: ")[1].split("\n")[0])
        assert emitted == pytest.approx(2 * account.footprint.carbon_g.value, rel=1e-3)
        assert '  training_type: "fine-tuning"' in front
        assert '  geographical_location: "DE"' in front
        assert "90 % interval" in front
        assert "No offsets are counted." in text

    def test_unknown_grams(self):
        """A card without grams is refused."""
        with pytest.raises(UsageError, match="unknown"):
            model_card.write([unread()])


class TestSci:
    def test_the_equation(self):
        """SCI is (E x I + M) / R with what stood by in E (ISO/IEC 21031)."""
        account = run()
        told = sci.statement([account], "samples")
        cost = account.footprint
        energy_kwh = (
            (cost.device_j.value + cost.idle_j.value)
            * cost.factors["uplift"].value
            * cost.factors["pue"].value
            / JOULES_PER_KWH
        )
        assert told["energy"]["value"] == pytest.approx(energy_kwh)
        operational = energy_kwh * cost.factors["intensity"].value
        assert told["sci"]["value"] == pytest.approx((operational + cost.embodied_g.value) / 2000)
        assert told["sci"]["unit"] == "gCO2eq per samples"
        assert told["disclosure"]["offsets"] == "none counted"
        assert told["disclosure"]["intensity"][0]["source"]

    def test_given_units(self):
        """A unit that the runs did not count is taken with its number, and refused without."""
        assert sci.statement([run()], "request", 50)["functional_unit"]["amount"] == 50
        with pytest.raises(UsageError, match=r"counted no 'request'; all runs counted epoch, samples"):
            sci.statement([run()], "request")
        with pytest.raises(UsageError, match="must be above 0"):
            sci.statement([run()], "request", 0)

    def test_unknown_energy(self):
        """Without energy there is no SCI."""
        with pytest.raises(UsageError, match="energy is unknown"):
            sci.statement([unread()])


class TestCodeCarbon:
    def test_round_trip(self):
        """What we write is read again with the same joules, time and name."""
        account = run()
        (back,) = codecarbon.read(codecarbon.write([account]))
        assert back.name == "digits"
        assert back.duration_s == account.recording.duration_s
        assert sum(back.energy_j.values()) == pytest.approx(account.footprint.device_j.value)
        assert abs((back.started_utc - account.recording.started_utc).total_seconds()) <= 1

    def test_a_file_of_the_tool(self):
        """A row of CodeCarbon 3.3's own file: joules by part, no GPU where there is none."""
        text = (
            "timestamp,project_name,run_id,duration,emissions,cpu_energy,gpu_energy,ram_energy,energy_consumed,cpu_count,cpu_model,gpu_count,codecarbon_version\n"
            "2026-11-29T15:33:20,real,24bc,4.117,1.2e-05,9.064e-06,0.0,2.266e-05,3.172e-05,2,AMD EPYC,0,3.3.2\n"
        )
        (found,) = codecarbon.read(text)
        assert found.energy_j == pytest.approx({Component.CPU: 32.63, Component.MEMORY: 81.58}, rel=1e-3)
        assert found.metadata == {"codecarbon_version": "3.3.2"}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("a,b\n1,2\n", "no column timestamp"),
            ("timestamp,duration,energy_consumed\nyesterday,1,2\n", "row 2 of the file"),
            ("timestamp,duration,energy_consumed\n2026-01-01,1,nan\n", "energy_consumed is 'nan'"),
            ("timestamp,duration,energy_consumed\n2026-01-01,-1,1\n", "duration is '-1'"),
        ],
    )
    def test_other_files(self, text, said):
        """What is no such file is refused with the row."""
        with pytest.raises(UsageError, match=said):
            list(codecarbon.read(text))


class TestBoAmps:
    def test_required_fields(self):
        """All that the published schema requires is there, with words that it allows."""
        report = json.loads(boamps.write(run()))
        assert {"task", "measures", "infrastructure"} <= report.keys()
        assert {"taskStage", "taskFamily", "algorithms", "dataset"} <= report["task"].keys()
        assert {"dataUsage", "dataType"} <= report["task"]["dataset"][0].keys()
        assert report["infrastructure"]["infraType"] in ("publicCloud", "privateCloud", "onPremise", "other")
        assert all(
            {"componentType", "nbComponent"} <= c.keys() for c in report["infrastructure"]["components"]
        )
        assert report["environment"]["country"] == "DE"
        assert report["quality"] in ("high", "medium", "low")
        assert report["task"]["measuredAccuracy"] == 0.9
        assert report["measures"][0]["powerConsumption"] == pytest.approx(
            run().footprint.total_j.value / JOULES_PER_KWH
        )

    def test_round_trip(self):
        """What we write is read again with the same joules."""
        account = run()
        (back,) = boamps.read(boamps.write(account))
        assert sum(back.energy_j.values()) == pytest.approx(account.footprint.total_j.value)
        assert back.values == {"accuracy": 0.9}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "no JSON"),
            ("{}", "no list 'measures'"),
            ('{"measures": [{}]}', "cannot be read: KeyError"),
            (
                '{"measures": [{"powerConsumption": -1, "measurementDateTime": "2026-01-01"}]}',
                "cannot be read: ValueError",
            ),
        ],
    )
    def test_other_files(self, text, said):
        """What is no report is refused."""
        with pytest.raises(UsageError, match=said):
            list(boamps.read(text))

    def test_unknown_energy(self):
        """A report without energy is refused."""
        with pytest.raises(UsageError, match="energy is unknown"):
            boamps.write(unread())
