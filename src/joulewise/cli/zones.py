"""`joulewise zones [TEXT]`: the zones that the catalogue knows, with their yearly means."""

from __future__ import annotations

from typing import Any

import click

from joulewise.catalogue.zones import Zone, find_zone, world_range, zones
from joulewise.cli.output import echo, echo_json, figure_fields, json_option, table
from joulewise.vocabulary.errors import UnknownName

_HOUR_S = 3600.0
_LEAST_LETTERS = 4  # shorter text is a code: "de" is Germany, not Sweden


@click.command("zones")
@click.argument("text", required=False, default="")
@click.option(
    "--sort",
    type=click.Choice(["code", "intensity"]),
    default="code",
    show_default=True,
    help="By code, or the cleanest first.",
)
@json_option
def command(text: str, sort: str, as_json: bool) -> None:
    """List zones and how clean their electricity is: grams of CO2e per kWh, yearly mean.

    TEXT is a code (DE, DEU, US-CA), a name, or a part of a name; without it all zones are listed.
    """
    chosen = matching(text)
    if sort == "intensity":
        chosen = sorted(chosen, key=lambda zone: (zone.g_per_kwh, zone.code))
    if as_json:
        echo_json({"zones": [_fields(zone) for zone in chosen], "world": figure_fields(world_range())})
        return
    heads = ("zone", "name", "g/kWh", "90 % of hours", "year", "kind", "factors", "source")
    echo(table([_row(zone) for zone in chosen], heads, right=(2, 3)))
    if not text:
        world = world_range()
        echo(
            f"\n{len(chosen)} zones; without a zone: {world.value:.0f} ({world.low:.0f}–{world.high:.0f}) g/kWh, "
            "the world's range"
        )


def matching(text: str) -> list[Zone]:
    """Return the zones that a text means, by code; all without a text. Raises UnknownName with the nearest.

    A code or name in common use means its zone and the smaller zones of it; four letters or more are looked for in
    names, too.
    """
    wanted = " ".join(text.split()).casefold()
    if not wanted:
        return list(zones())
    codes: set[str] = set()
    refusal: UnknownName | None = None
    try:
        codes.add(find_zone(text).code)
    except UnknownName as error:
        refusal = error
    if refusal is not None or len(wanted) >= _LEAST_LETTERS:
        codes |= {zone.code for zone in zones() if wanted in zone.name.casefold()}
    chosen = [z for z in zones() if z.code in codes or z.code.partition("-")[0] in codes]
    if not chosen and refusal is not None:
        raise refusal
    return chosen


def _row(zone: Zone) -> list[str]:
    figure = zone.intensity(_HOUR_S)
    spread = f"{figure.low:.0f}–{figure.high:.0f}"
    mean = f"{zone.g_per_kwh:.0f}"
    return [zone.code, zone.name, mean, spread, str(zone.year), zone.kind, zone.factors, zone.source]


def _fields(zone: Zone) -> dict[str, Any]:
    return {
        "code": zone.code,
        "name": zone.name,
        "g_per_kwh": figure_fields(zone.intensity(_HOUR_S)),
        "year": zone.year,
        "kind": zone.kind,
        "factors": zone.factors,
        "source": zone.source,
    }
