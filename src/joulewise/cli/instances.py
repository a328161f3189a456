"""`joulewise instances`: which instance type does a job for the fewest joules, grams or money."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from joulewise.catalogue.instances import SOURCE, InstanceType, find_instance, instance_types, sky_prices
from joulewise.cli.output import echo, echo_json, figure_fields, figure_text, json_option, plain, table
from joulewise.scheduling.instances import By, Probe, Ranking, rank
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import format_duration, format_si


@click.command("instances")
@click.option(
    "--for",
    "run",
    metavar="RUN",
    help="The run whose work is to be placed (it must have logged its progress).",
)
@click.option(
    "--work", type=float, metavar="UNITS", help="How much work: samples, steps, tokens (default: from --for)."
)
@click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="TYPE=RATE[@LOAD|@WATTS]",
    help="Units a second on a type, with its load or its watts: g4dn.xlarge=310@0.9, =310@95W.",
)
@click.option("--by", type=click.Choice([b.value for b in By]), default="joules", help="What to rank by.")
@click.option("--gpu", "gpu_only", is_flag=True, help="List only types with a GPU.")
@click.option("--zone", metavar="ZONE", help="Where it would run, for the grams.")
@click.option("--region", metavar="REGION", default="us-east-1", help="The provider's region, for the price.")
@click.option(
    "--catalogue", type=click.Path(path_type=Path), help="SkyPilot's catalogues (default: ~/.sky/catalogs)."
)
@json_option
def command(
    run: str | None,
    work: float | None,
    probes: tuple[str, ...],
    by: str,
    gpu_only: bool,
    zone: str | None,
    region: str,
    catalogue: Path | None,
    as_json: bool,
) -> int:
    """Rank instance types by joules, grams or money per job, from measured work and a probe's throughput.

    Without a probe the catalogue is listed: nothing but a run on a type tells how fast it is.
    """
    prices = {kind: p for (kind, where), p in sky_prices(catalogue).items() if where == region}
    if not probes and (run is not None or work is not None):
        amount, _load = _work(run, work)
        raise UsageError(
            f"nothing but a run on a type tells how fast it is: run {format_si(amount / 100, 'units')} or so of this work on "
            "each and give its rate, for instance --probe g4dn.xlarge=310 --probe m6i.4xlarge=45"
        )
    if not probes:
        kinds = [k for k in instance_types() if k.gpus or not gpu_only]
        if as_json:
            echo_json({"types": [_type_fields(k, prices) for k in kinds], "source": SOURCE})
        else:
            echo(_catalogue(kinds, prices))
        return 0
    amount, load = _work(run, work)
    read = dict(_probe(text, load) for text in probes)
    from joulewise import wiring

    place = wiring.place(zone=zone)
    intensity = place.zone.intensity() if place.zone else None
    from joulewise.catalogue.pue import PlaceKind, pue

    ranking = rank(
        amount,
        read,
        [find_instance(name) for name in read],
        pue=pue(PlaceKind.AWS),
        intensity=intensity,
        prices_per_h=prices,
        by=By(by),
    )
    if as_json:
        echo_json(_fields(ranking, amount))
    else:
        echo(_text(ranking, amount, zone))
    return 0 if ranking.ranked else 1


def _work(run: str | None, work: float | None) -> tuple[float, float]:
    """Return the units of work, and the load that the run showed (1 where none is given)."""
    if run is None:
        if work is None:
            raise UsageError("say how much work it is: --for RUN, or --work UNITS")
        return work, 1.0
    from joulewise import wiring

    recording = wiring.find(run)
    usage = wiring.account(recording).usage
    if work is None:
        if usage.throughput_per_s is None:
            raise UsageError(
                f"run {plain(recording.name)} logged no progress (samples, steps, tokens); say --work UNITS"
            )
        work = usage.throughput_per_s * recording.duration_s
    gpu = list(usage.gpu_utilisation.values())
    load = sum(gpu) / len(gpu) if gpu else usage.cpu_utilisation
    return work, min(1.0, load if load is not None else 1.0)


def _probe(text: str, load: float) -> tuple[str, Probe]:
    name, sign, rest = text.partition("=")
    rate, at, own = rest.partition("@")
    try:
        if not sign:
            raise ValueError
        if own.endswith("W"):
            return name, Probe(float(rate.removesuffix("/s")), load, float(own[:-1]))
        return name, Probe(float(rate.removesuffix("/s")), float(own) if at else load)
    except ValueError:
        raise UsageError(
            f"cannot read --probe {text!r}; write for instance g4dn.xlarge=310 or g4dn.xlarge=310@0.9"
        ) from None


def _catalogue(kinds: list[InstanceType], prices: dict[str, float]) -> str:
    rows = [
        [
            k.name,
            f"{k.vcpus:g}",
            f"{k.memory_bytes / 1e9:g} GB",
            f"{k.gpus} {k.gpu_model}" if k.gpus else "",
            f"{k.idle_w:.0f} W",
            f"{k.watts[3]:.0f} W",
            f"{prices[k.name]:.3g}" if k.name in prices else "",
        ]
        for k in kinds
    ]
    heads = ("type", "vCPU", "memory", "GPUs", "idle", "full load", "price/h")
    told = f"{len(kinds)} types; watts modelled, {SOURCE}. A ranking needs a probe: --work UNITS --probe TYPE=RATE."
    return f"{table(rows, heads, right=(1, 2, 4, 5, 6))}\n\n{told}"


def _text(ranking: Ranking, work: float, zone: str | None) -> str:
    rows = [
        [
            str(n),
            r.type.name,
            format_duration(r.seconds),
            figure_text(r.energy_j, "J"),
            figure_text(r.carbon_g, "g"),
            format_si(r.embodied_g.value, "g"),
            "unknown" if r.cost is None else f"{r.cost:.3g}",
            f"{r.idle_share:.0%}",
        ]
        for n, r in enumerate(ranking.ranked, 1)
    ]
    heads = ("", "type", "time", "energy", "operational", "embodied", "price", "idle share")
    lines = [table(rows, heads, right=(0, 2, 3, 4, 5, 6, 7))] if rows else []
    lines += [f"{plain(name, 40)}: {why}" for name, why in ranking.left_out]
    lines.append(
        f"for {work:g} units of work, by {ranking.by}; watts modelled, {SOURCE}; with the PUE of the provider"
    )
    if zone is None and any(r.carbon_g is None for r in ranking.ranked):
        lines.append("no zone is set, so grams are unknown: give --zone US-VA")
    return "\n".join(lines)


def _type_fields(kind: InstanceType, prices: dict[str, float]) -> dict[str, Any]:
    return {
        "type": kind.name,
        "vcpus": kind.vcpus,
        "memory_bytes": kind.memory_bytes,
        "gpus": kind.gpus,
        "gpu_model": kind.gpu_model,
        "watts": list(kind.watts),
        "price_per_h": prices.get(kind.name),
    }


def _fields(ranking: Ranking, work: float) -> dict[str, Any]:
    return {
        "work": work,
        "by": ranking.by.value,
        "ranked": [
            {
                "type": r.type.name,
                "seconds": r.seconds,
                "energy_j": figure_fields(r.energy_j),
                "carbon_g": figure_fields(r.carbon_g),
                "embodied_g": figure_fields(r.embodied_g),
                "cost": r.cost,
                "idle_share": r.idle_share,
            }
            for r in ranking.ranked
        ],
        "left_out": [{"type": name, "why": why} for name, why in ranking.left_out],
    }
