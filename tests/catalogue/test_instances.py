from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.catalogue.instances import find_instance, instance_types, sky_prices
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.figures import Basis, Boundary


def test_every_type_has_watts_that_grow_with_its_load():
    """All 621 types have vCPUs, memory and watts that never fall with load."""
    kinds = instance_types()

    assert len(kinds) == 621
    for kind in kinds:
        assert kind.vcpus > 0
        assert kind.memory_bytes > 0
        assert all(a <= b for a, b in pairwise(kind.watts))


@given(st.floats(0, 1), st.floats(0, 1))
def test_power_lies_between_idle_and_full_load(one, other):
    """Power at any load is modelled, lies between the ends, and grows with load."""
    kind = find_instance("p3.2xlarge")
    low, high = sorted((one, other))

    assert kind.idle_w <= kind.power_w(low).value <= kind.power_w(high).value + 1e-9 <= kind.watts[3] + 1e-6
    assert kind.power_w(low).basis is Basis.MODELLED
    assert kind.power_w(low).boundary is Boundary.WALL


def test_known_loads_are_met_exactly():
    """At 10, 50 and 100 % the watts are those of the table."""
    kind = find_instance("g4dn.xlarge")

    assert [kind.power_w(at).value for at in (0, 0.1, 0.5, 1)] == pytest.approx(list(kind.watts))
    with pytest.raises(UsageError, match=r"load is 1\.2"):
        kind.power_w(1.2)


def test_an_unknown_type_suggests_the_nearest():
    """A slip of the finger is answered with the nearest name."""
    with pytest.raises(UnknownName, match=r"did you mean g4dn\.xlarge"):
        find_instance("g4dn.xlarg")


def write(folder, version, text):
    path = folder / version / "aws" / "vms.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_the_newest_sky_catalogue_counts(tmp_path):
    """Prices come from the newest version of the user's catalogue; the cheapest zone of a region; blanks are none."""
    head = "InstanceType,vCPUs,Region,AvailabilityZone,Price,SpotPrice\n"
    write(tmp_path, "v7", head + "a,1,eu,eu-a,9.0,\n")
    write(tmp_path, "v10", head + "a,1,eu,eu-a,0.5,0.1\na,1,eu,eu-b,0.4,\nb,1,eu,eu-a,,0.2\n")

    assert sky_prices(tmp_path) == {("a", "eu"): 0.4}


def test_no_catalogue_is_no_price(tmp_path):
    """Without a catalogue there is no price, and a foreign file is refused by name."""
    assert sky_prices(tmp_path) == {}
    write(tmp_path, "v8", "Type,Cost\na,1\n")
    with pytest.raises(UsageError, match="lacks InstanceType, Price, Region"):
        sky_prices(tmp_path)
