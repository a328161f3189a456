"""`joulewise throttle`: let a cluster's capacity follow the grid, with no knowledge of its jobs."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from joulewise.cli.output import echo, echo_json, json_option
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import parse_duration

if TYPE_CHECKING:
    from joulewise.scheduling.throttle import Cap


@click.command("throttle")
@click.option("--zone", metavar="ZONE", help="Where the cluster stands (default: the settings' zone).")
@click.option("--slurm", is_flag=True, help="Drain and resume this Slurm cluster's nodes (operator rights).")
@click.option("--partition", default="", metavar="NAME", help="Only the nodes of this partition.")
@click.option(
    "--units", type=click.IntRange(1), metavar="N", help="Without --slurm: of how many units the cap is told."
)
@click.option(
    "--least",
    default="25%",
    show_default=True,
    metavar="SHARE",
    help="What may always run: a share, or a number of units.",
)
@click.option("--every", default="5m", show_default=True, metavar="TIME", help="How often it looks.")
@click.option(
    "--hours", type=click.IntRange(2, 168), default=36, show_default=True, help="How far ahead it looks."
)
@click.option(
    "--history",
    "history_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the past from this CSV or Parquet file.",
)
@click.option("--once", is_flag=True, help="Look once and end; the cap stays (for cron).")
@click.option("--release", is_flag=True, help="Take the cap away, and end.")
@click.option("--online", is_flag=True, help="Ask grid services. Without it nothing leaves this machine.")
@json_option
def command(**options: Any) -> None:
    """Cap how much of a cluster runs, by how clean electricity is now against the coming hours.

    Jobs need not be known, declared or changed: nodes beyond the cap end what they run and start nothing new. Without
    --slurm the cap is only told, for whatever sets the capacity of yours. It ends with the cap taken away (Ctrl-C, SIGTERM);
    after `kill -9`, --release does that.
    """
    from joulewise import wiring
    from joulewise.launching.slurm_cap import SlurmCap

    if options["slurm"] == bool(options["units"]):
        raise UsageError(
            "say what is capped: --slurm for this cluster's nodes, or --units N for a number of your own"
        )
    nodes = SlurmCap(options["partition"]) if options["slurm"] else None
    if options["release"]:
        if nodes is None:
            raise UsageError("--release takes the cap of --slurm away")
        done = nodes.hold_to(sum(map(len, nodes.nodes())))
        echo(f"resumed: {', '.join(done.resumed) or 'nothing was held back'}")
        return
    zone = options["zone"] or wiring.settings().zone
    if not zone or zone == "auto":
        raise UsageError("say where the cluster stands, for instance --zone DE")
    stop = threading.Event()
    if not options["once"]:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: stop.set())
    every_s = parse_duration(options["every"])
    try:
        while not stop.is_set():
            most = options["units"] or sum(map(len, nodes.nodes() if nodes else ()))
            if not most:
                raise UsageError("there is no node that could run jobs")
            cap = _cap(zone, most, options)
            _apply(cap, nodes, zone, as_json=options["as_json"])
            if options["once"]:
                return
            stop.wait(every_s)
    finally:
        if nodes is not None and not options["once"]:
            nodes.hold_to(sum(map(len, nodes.nodes())))


def _cap(zone: str, most: int, options: dict[str, Any]) -> Cap:
    from joulewise import wiring
    from joulewise.scheduling.throttle import throttle

    told = wiring.outlook(
        zone, options["hours"], online=options["online"], history_file=options["history_file"]
    ).signal
    values = [value for value in told.values if value is not None]
    return throttle(values[0], min(values), max(values), most, _least(options["least"], most))


def _least(text: str, most: int) -> int:
    number = text.strip().removesuffix("%")
    try:
        told = float(number) / 100 * most if text.strip().endswith("%") else float(number)
    except ValueError:
        raise UsageError(
            f"--least is {text!r}, but must be a share such as 25%, or a number of units"
        ) from None
    if not 0 <= told <= most:
        raise UsageError(f"--least is {text!r}, but must lie between 0 and all {most} units")
    return round(told)


def _apply(cap: Cap, nodes: Any, zone: str, *, as_json: bool) -> None:
    done = nodes.hold_to(cap.units, f"{zone} {cap.units} of {cap.most} nodes") if nodes is not None else None
    drained, resumed = (done.drained, done.resumed) if done else ((), ())
    if as_json:
        told = {"zone": zone, "units": cap.units, "most": cap.most, "reason": cap.reason}
        echo_json({**told, "drained": list(drained), "resumed": list(resumed)})
        return
    changes = [
        f"{word} {', '.join(names)}" for word, names in (("drained", drained), ("resumed", resumed)) if names
    ]
    echo(f"{cap.units} of {cap.most} may run ({cap.reason}){'; ' if changes else ''}{'; '.join(changes)}")
