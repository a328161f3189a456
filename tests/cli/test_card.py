"""The card of a recording."""

from __future__ import annotations

import dataclasses

import pytest

from joulewise.catalogue.place import place
from joulewise.cli.card import end_words, render
from joulewise.measuring.accounting import account
from joulewise.testing.meters import device
from joulewise.testing.recordings import recording
from joulewise.vocabulary.recording import Component, End, EndState, Missing

CPU = device("rapl:package-0", Component.CPU, error=0.05)


def card(*, zone="DE", tariff="0.30EUR/kWh", **changes):
    made = dataclasses.replace(recording([CPU], {CPU.id: 100.0}, name="digits"), **changes)
    return render(account(made, place(zone, chassis="server", tariff=tariff)))


def test_says_what_it_cost():
    """Energy, carbon and money stand on the card with interval, basis and source."""
    lines = card().splitlines()

    assert lines[0] == "digits · finished in 10.0 s"
    energy = next(line for line in lines if line.startswith("  energy"))
    assert " J (" in energy or " kJ (" in energy
    assert "modelled" in energy
    assert "cpu" in energy
    carbon = next(line for line in lines if line.startswith("  carbon"))
    assert "CO2e" in carbon
    assert "OWID/Ember yearly mean" in carbon
    assert "EUR" in next(line for line in lines if line.startswith("  cost"))
    assert lines[-1].startswith("  more     joulewise show ")


def test_unknown_zone_and_tariff():
    """An unknown zone gives grams over the world's range and says so; an unknown tariff gives no cost and says why."""
    text = card(zone=None, tariff=None)

    assert "no zone is set: give --zone DE" in text
    assert "cost     unknown: no tariff is set" in text


def test_missing_sources_are_named():
    """A source that could not be read is on the card with its remedy; more than three are counted."""
    missing = tuple(Missing(f"source {n}", "permission denied", "run this line") for n in range(5))
    text = card(missing=missing)

    assert "source 0: permission denied; run this line" in text
    assert "source 3" not in text
    assert "2 more: joulewise doctor" in text


def test_damage_is_said():
    """Lines that could not be read are counted on the card."""
    assert "2 lines of the recording could not be read" in card(damage=("line 3", "line 4"))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (End(EndState.FAILED, 1.0, exit_code=3, reason="exit code 3"), "failed after 1.0 s (exit code 3)"),
        (
            End(EndState.KILLED, 1.0, signal=9, reason="killed by signal 9"),
            "killed after 1.0 s (killed by signal 9)",
        ),
        (
            End(EndState.STOPPED, 1.0, reason="2 kJ are used"),
            "stopped by its budget after 1.0 s (2 kJ are used)",
        ),
        (End(EndState.FINISHED, 1.0, exit_code=0), "finished in 1.0 s"),
        (
            End(EndState.FINISHED, 1.0, reason="the program runs on"),
            "finished in 1.0 s (the program runs on)",
        ),
        (End(EndState.RUNNING, 1.0), "running for 1.0 s"),
    ],
)
def test_how_it_ended(end, words):
    """The end state is told in words with its reason."""
    assert end_words(dataclasses.replace(recording([], {}), end=end)) == words


def test_lost():
    """A recording whose recorder was killed says that it holds what was seen until then."""
    lost = dataclasses.replace(recording([], {}), end=End(EndState.LOST, 40.0))

    assert "the recorder was killed" in end_words(lost)


def test_hostile_name():
    """A name with control characters does not reach the terminal."""
    assert "\x1b" not in card(name="\x1b]0;owned\x07train")


def test_no_meter():
    """Where no energy is known the card says so and shows no zero."""
    nothing = account(recording([], {}), place("DE"))
    text = render(nothing)

    assert "energy   unknown: no component's energy could be read or modelled" in text
    assert "carbon   unknown" in text
