"""`joulewise instances`: the catalogue, and the ranking by a probe."""

from __future__ import annotations

import json


def test_the_catalogue_is_listed_with_its_source(joulewise):
    """Without a probe every GPU type is listed with watts and source, and the line says what a ranking needs."""
    done = joulewise("instances", "--gpu")

    assert done.returncode == 0
    assert "g4dn.xlarge" in done.stdout
    assert "Apache-2.0" in done.stdout
    assert "A ranking needs a probe" in done.stdout


def test_types_are_ranked_by_their_probes(joulewise):
    """Two probes are ranked by joules per job, with time, grams and idle share."""
    done = joulewise(
        "instances", "--work", "1e6", "--probe", "p3.2xlarge=900@0.85", "--probe", "g4dn.xlarge=310@0.9", "--zone", "US-VA", "--json"
    )  # fmt: skip
    fields = json.loads(done.stdout)

    measured = joulewise("instances", "--work", "1e6", "--probe", "g4dn.xlarge=310@95W", "--json")

    assert json.loads(measured.stdout)["ranked"][0]["energy_j"]["value"] > 95 * 1e6 / 310
    assert fields["schema_version"] == 1
    assert [r["type"] for r in fields["ranked"]] == ["g4dn.xlarge", "p3.2xlarge"]
    assert fields["ranked"][0]["carbon_g"]["low"] < fields["ranked"][0]["carbon_g"]["value"]


def test_the_work_of_a_run_is_used(joulewise, recorded):
    """With --for the work is what the run logged; a run that logged nothing is refused with what to do."""
    recorded("silent")
    done = joulewise("instances", "--for", "silent", "--probe", "g4dn.xlarge=310")
    assert done.returncode == 2
    assert "logged no progress" in done.stderr

    code = (
        "import joulewise, time\n"
        "with joulewise.track() as t:\n"
        "    for n in range(6):\n"
        "        t.log(samples=100 * n)\n"
        "        time.sleep(0.3)\n"
    )
    recorded("telling", code)
    done = joulewise("instances", "--for", "telling", "--probe", "g4dn.xlarge=310", "--json")

    assert done.returncode == 0, done.stderr
    assert 100 < json.loads(done.stdout)["work"] < 2000


def test_prices_come_from_the_users_own_catalogue(joulewise, home):
    """A SkyPilot catalogue gives money per job; the ranking by money uses it."""
    path = home / "sky" / "v8" / "aws" / "vms.csv"
    path.parent.mkdir(parents=True)
    path.write_text("InstanceType,Region,Price\ng4dn.xlarge,us-east-1,0.526\n")
    done = joulewise(
        "instances", "--work", "3.6e6", "--probe", "g4dn.xlarge=1000", "--by", "money", "--catalogue", str(home / "sky"), "--json"
    )  # fmt: skip

    assert json.loads(done.stdout)["ranked"][0]["cost"] == 0.526


def test_wrong_use_is_one_line(joulewise):
    """A slip in a type's name, a probe or no work end with 2 and one line."""
    for arguments, said in (
        (("--work", "1", "--probe", "g4dn.xlarg=1"), "did you mean g4dn.xlarge"),
        (("--work", "1", "--probe", "g4dn.xlarge"), "cannot read --probe"),
        (("--probe", "g4dn.xlarge=1"), "say how much work it is"),
        (("--for", "nope"), "unknown recording 'nope'"),
        (("--work", "1000"), "run 10.0 units or so of this work on each and give its rate"),
    ):
        done = joulewise("instances", *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
