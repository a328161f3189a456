"""`joulewise rightsize RUN...`: how many GPUs or cores to ask for, or on how few machines small jobs fit."""

from __future__ import annotations

from dataclasses import asdict

import click

from joulewise.cli.output import echo, echo_json, json_option, plain, table
from joulewise.measuring.accounting import Account
from joulewise.scheduling.rightsize import Sized, advise, fit, limits
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import format_bytes, format_duration, format_si, parse_duration
from joulewise.vocabulary.recording import Component


@click.command("rightsize")
@click.argument("runs", metavar="[RUN|FILE.csv]...", nargs=-1)
@click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="N=RATE",
    help="Units a second on N workers, as measured: 1=142.",
)
@click.option("--offer", default="1,2,4,8", metavar="N,N", help="Sizes that can be asked for.")
@click.option("--efficiency", default=0.8, metavar="SHARE", help="Least share of perfect scaling.")
@click.option("--work", type=float, metavar="UNITS", help="How much work there is (with --within).")
@click.option("--within", metavar="TIME", help="By when it must be done: 6h.")
@click.option("--worker-power", default=300.0, metavar="WATTS", help="What one worker draws.")
@click.option(
    "--fixed-power", default=0.0, metavar="WATTS", help="What the machine draws beside its workers."
)
@click.option("--now", "present", type=int, metavar="N", help="The size asked for today.")
@click.option("--pack", "packing", is_flag=True, help="Pack small jobs, RUN or FILE.csv, on few machines.")
@click.option(
    "--machine",
    metavar="CORES,MEMORY[,GPUS,MEMORY]",
    help="With --pack: the machine to fill, 16,64GB,2,40GB (default: this one).",
)
@click.option(
    "--idle-power",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="WATTS",
    help="With --pack: what such a machine draws at the wall standing by.",
)
@click.option("--fill", default=0.9, metavar="SHARE", help="With --pack: how full cores and GPUs may be.")
@click.option("--mig", is_flag=True, help="With --pack: GPUs are sliced, each job has its own memory.")
@json_option
def command(
    runs: tuple[str, ...],
    probes: tuple[str, ...],
    offer: str,
    efficiency: float,
    work: float | None,
    within: str | None,
    worker_power: float,
    fixed_power: float,
    present: int | None,
    packing: bool,
    machine: str | None,
    idle_power: float,
    fill: float,
    mig: bool,
    as_json: bool,
) -> int:
    """Say how many GPUs or cores to ask for, time and memory limits, and what the present size wastes.

    RUN are recordings of one work at several sizes; --probe adds rates that were measured elsewhere. With --pack they
    are different small jobs, packed on few machines by what they were measured to use; idle devices are named.
    """
    if packing:
        from joulewise.cli.packing import pack

        return pack(runs, machine, idle_power, fill, sliced=mig, as_json=as_json)
    if machine or idle_power or mig:
        raise UsageError("--machine, --idle-power and --mig are for packing small jobs; add --pack")
    from joulewise import wiring

    accounts = [wiring.account(wiring.find(text)) for text in runs]
    measured = [_probe(text) for text in probes] + [s for a in accounts if (s := _sized(a)) is not None]
    if not measured:
        raise UsageError("name runs that logged their progress, or give --probe 1=142 --probe 2=270")
    offered = _sizes(offer)
    scaling = fit(measured)
    needed = 0.0
    if within is not None:
        if work is None:
            raise UsageError("--within needs to know how much work there is: --work UNITS")
        needed = work / parse_duration(within)
    advice = advise(
        scaling,
        offered,
        worker_w=worker_power,
        fixed_w=fixed_power,
        least_efficiency=efficiency,
        needed_per_s=needed,
        now=present,
    )
    peaks = [p for a in accounts if (p := a.usage.peak_resident_bytes) is not None]
    asked = limits([a.recording.duration_s for a in accounts], peaks) if peaks else None
    if as_json:
        echo_json(
            {
                "advice": asdict(advice),
                "scaling": asdict(scaling),
                "sizes": [
                    {"workers": n, "units_per_s": scaling.rate(n), "efficiency": scaling.efficiency(n)}
                    for n in offered
                ],
                "limits": asked and asdict(asked),
            }
        )
        return 0
    known = {m.workers for m in measured}
    rows = [
        [
            str(n),
            f"{scaling.rate(n):.4g}",
            f"{scaling.efficiency(n):.0%}",
            format_si((fixed_power + n * worker_power) / scaling.rate(n), "J"),
            "measured" if n in known else "by the fit",
            "<- ask for this" if n == advice.workers else "",
        ]
        for n in offered
    ]
    echo(table(rows, ("workers", "units/s", "efficiency", "per unit", "", ""), right=(0, 1, 2, 3)))
    echo(f"\nask for {advice.workers}: {advice.reason}")
    if advice.wasted_share is not None:
        echo(
            f"of the joules that the present {present} burn per unit, {advice.wasted_share:.0%} would be spared"
        )
    if asked is not None:
        echo(f"limits: {format_duration(asked.time_s)} of time, {format_bytes(asked.memory_bytes)} of memory")
    return 0


def _sized(account: Account) -> Sized | None:
    rate = account.usage.throughput_per_s
    if rate is None:
        return None
    gpus = sum(d.device.component is Component.GPU for d in account.devices)
    cpus = account.recording.machine.owned_cpus
    return Sized(gpus or max(1, round(cpus or 1)), rate)


def _probe(text: str) -> Sized:
    workers, _, rate = text.partition("=")
    try:
        return Sized(int(workers), float(rate.removesuffix("/s")))
    except ValueError:
        raise UsageError(f"cannot read --probe {plain(text)!r}; write for instance 2=270") from None


def _sizes(text: str) -> list[int]:
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"cannot read --offer {plain(text)!r}; write for instance 1,2,4,8") from None
