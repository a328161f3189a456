"""`joulewise submit -- COMMAND`: put flexible work into the queue; it runs in the hours that planning chose."""

from __future__ import annotations

import getpass
import os
import signal
from datetime import UTC, datetime
from typing import Any

import click

from joulewise.cli.output import echo, echo_json, json_option, local_time, plain
from joulewise.cli.reading import BYTES, WATTS, quantity
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Checkpoint, Duration, Job, Pace
from joulewise.vocabulary.moments import parse_moment
from joulewise.vocabulary.quantities import ENERGY_UNITS, format_duration, format_si, parse_duration
from joulewise.vocabulary.ticket import Needs, Ticket

_SUSPEND = Checkpoint(1.0, 0.0)  # a signal and a look: its memory stays warm
_IDLE_GPU_W = (
    46.0  # an A100 that does nothing: a p4d.24xlarge of the Cloud Carbon Footprint's rows, by its eight
)
_REQUEUE = Checkpoint(30.0, 0.0)  # to save, to start and to load; --pause-time says better


@click.command("submit", context_settings={"allow_interspersed_args": False})
@click.option(
    "--deadline", metavar="TIME", help="By when it must be done: 'tomorrow 08:00', 18:00, +12h, ISO 8601."
)
@click.option(
    "--duration",
    metavar="TIME",
    help="How long it runs: 6h; or what like runs took: 5h,6h,9h (default: from past runs of this command).",
)
@click.option(
    "--margin", default=0.0, metavar="SHARE", help="How much longer it may take: 0.5 for half as long again."
)
@click.option("--start", "release", metavar="TIME", help="When it may begin at the earliest (default: now).")
@click.option("--interruptible", is_flag=True, help="It may stand still and go on.")
@click.option(
    "--checkpoint",
    metavar="SIGNAL",
    default="",
    help="It saves its state and ends on this signal (USR1), and goes on from there when started again.",
)
@click.option("--checkpoint-time", default="60s", metavar="TIME", help="How long saving may take.")
@click.option(
    "--pause-time", metavar="TIME", help="Dead time at each resumption (default: 1s, with --checkpoint 30s)."
)
@click.option(
    "--pause-energy", default="0J", metavar="ENERGY", help="Joules of saving and loading at each pause."
)
@click.option(
    "--idle-power",
    metavar="WATTS",
    help="What it draws while it is suspended (default: its memory's, and an idle GPU's for each of its GPUs).",
)
@click.option("--restartable", is_flag=True, help="It may be started again from nothing if its machine dies.")
@click.option(
    "--retries",
    default=0,
    metavar="N",
    type=click.IntRange(min=0),
    help="Start it again after a failure, N times at most.",
)
@click.option(
    "--priority",
    default=0,
    metavar="N",
    help="Higher comes first; may let interruptible work of lower priority stand still.",
)
@click.option(
    "--cpus", default=1, metavar="N", type=click.IntRange(min=1), help="Processors that it keeps busy."
)
@click.option("--gpus", default=0, metavar="N", type=click.IntRange(min=0), help="GPUs that it takes.")
@click.option("--memory", default="0B", metavar="SIZE", help="Memory that it takes: 16GB.")
@click.option(
    "--power",
    metavar="WATTS",
    help="What it draws while it runs (default: from past runs of this command, else 300W).",
)
@click.option("--budget", default="", metavar="LIMITS", help="Stop it at these limits: 2MJ,200g,3h.")
@click.option(
    "--zone", "zones", multiple=True, metavar="ZONE", help="Where it may run, home first; repeat for more."
)
@click.option(
    "--engine", default="local", metavar="NAME", help="What runs it: local (default), slurm, ray, kubernetes."
)
@click.option(
    "--late", is_flag=True, help="Take it even where it must end late beside what is queued; when is said."
)
@click.option("--name", metavar="NAME", help="Its name (default: the program's or the script's).")
@click.option(
    "--env",
    "named",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="A variable that it takes along; may be repeated.",
)
@json_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def command(**options: Any) -> None:
    """Put flexible work into the queue: a worker runs it in the hours that planning chose, and records it as any run.

    A job takes PATH, the virtual environment and the languages of this shell along; other variables only with --env:
    the ledger is no place for secrets. Workers are started with `joulewise worker`.
    """
    from joulewise import wiring

    ticket = _ticket(options, datetime.now(UTC))
    done = wiring.submit(ticket, late=options["late"])
    placed = done.placement
    if options["as_json"]:
        echo_json(
            {
                "job": done.id,
                "name": ticket.job.name,
                "reason": done.reason,
                "deadline_utc": ticket.job.deadline_utc.isoformat(),
                "start_utc": placed.start_utc.isoformat() if placed else None,
                "end_utc": placed.end_utc.isoformat() if placed else None,
                "saving": placed.saving if placed else None,
                "notes": list(placed.notes) if placed else [],
                "signal": done.signal,
                "trust": placed.trust if placed else None,
                "handed": done.handed or None,
            }
        )
        return
    echo(f"{done.id} ({plain(ticket.job.name, 40)}) is in the queue: {done.reason}")
    if done.handed:
        pauses = "; it runs in one go, for pauses need a worker" if ticket.pausable else ""
        echo(
            f"  handed   no worker is there, so it is {done.handed} already, which starts it at its hour{pauses}"
        )
    if placed is None:
        return
    pauses = f" with {placed.pauses} pause{'s' if placed.pauses > 1 else ''}" if placed.pauses else ""
    echo(
        f"  planned  {local_time(placed.start_utc)} to {local_time(placed.end_utc)}{pauses}; deadline {local_time(ticket.job.deadline_utc)}"
    )
    echo(
        f"  length   {format_duration(ticket.job.duration.expected_s or 0.0)}, {format_duration(placed.reserve_s)} kept free ({ticket.job.duration.source})"
    )
    echo(
        f"  carbon   {format_si(placed.predicted.carbon_g, 'g')}, run at once {format_si(placed.run_now.carbon_g, 'g')}"
    )
    if placed.trust < 1 and placed.promised_g > 0:
        echo(
            f"  promise  {format_si(placed.promised_g, 'g')} less: such forecasts kept {placed.trust:.0%} of what they said in the last month"
        )
    for note in placed.notes:
        echo(f"  note     {plain(note, 300)}")
    echo(f"  grid     {plain(done.signal, 300)}")


def _ticket(options: dict[str, Any], now: datetime) -> Ticket:
    from joulewise import wiring
    from joulewise.cli.start import run_name
    from joulewise.scheduling.submitting import carried

    argv = tuple(options["command"])
    if not argv:
        raise UsageError(
            "there is no command to submit; write for instance: joulewise submit --deadline 18:00 -- python train.py"
        )
    if not options["deadline"]:
        raise UsageError("say by when it must be done, for instance --deadline 'tomorrow 08:00'")
    release = parse_moment(options["release"], now) if options["release"] else now
    deadline = parse_moment(options["deadline"], release if options["deadline"].startswith("+") else now)
    zones = tuple(wiring.grid_zone(z) for z in _zones(options))
    engine = wiring.engine(options["engine"])
    if engine.name == "slurm":
        _directed(options, argv)
    if options["budget"]:
        _check_budget(options["budget"])
    checkpoint = _signal(options["checkpoint"])
    duration, power_w = _known(options, argv)
    delays = engine.delays()
    duration = _with_start(duration, delays.start_s + delays.wake_s)
    needs = Needs(options["cpus"], options["gpus"], int(quantity(options["memory"], BYTES, "--memory")))
    pause = None
    if options["interruptible"] or checkpoint:
        usual = _REQUEUE if checkpoint else _SUSPEND
        dead_s = parse_duration(options["pause_time"]) if options["pause_time"] else usual.dead_s
        dead_s += delays.requeue_s if checkpoint else 0.0
        pause_j = quantity(options["pause_energy"], ENERGY_UNITS, "--pause-energy")
        pause = Checkpoint(dead_s, pause_j, 0.0 if checkpoint else _idle_w(options, needs))
    return Ticket(
        Job(
            options["name"] or run_name(argv),
            duration,
            release,
            deadline,
            (Pace("1 worker", 1.0, power_w),),
            pause,
            zones,
        ),
        argv,
        os.getcwd(),
        getpass.getuser(),
        carried(os.environ if options["engine"] in wiring.SHARES_FILES else {}, _named(options["named"])),
        options["engine"],
        needs,
        options["priority"],
        options["restartable"],
        checkpoint,
        parse_duration(options["checkpoint_time"]),
        options["retries"],
        options["budget"],
    )


def _idle_w(options: dict[str, Any], needs: Needs) -> float:
    """Return the watts of suspended work: as told, else what its memory and its GPUs draw while they stand by."""
    from joulewise.measuring.meters.modelled import MEMORY_W_PER_BYTE

    if options["idle_power"]:
        return quantity(options["idle_power"], WATTS, "--idle-power")
    return needs.memory_bytes * MEMORY_W_PER_BYTE + needs.gpus * _IDLE_GPU_W


def _zones(options: dict[str, Any]) -> tuple[str, ...]:
    from joulewise import wiring

    zones = tuple(options["zones"]) or tuple(filter(None, [wiring.settings().zone]))
    if not zones:
        raise UsageError("say where it runs, for instance --zone DE, or set a zone (joulewise config)")
    return zones


def _known(options: dict[str, Any], argv: tuple[str, ...]) -> tuple[Duration, float]:
    """Return how long the job runs and what it draws: as told, else from past runs of the same command."""
    from joulewise import wiring

    told_w = quantity(options["power"], WATTS, "--power") if options["power"] else None
    if options["duration"]:
        samples = [parse_duration(text) for text in options["duration"].split(",")]
        duration = Duration(tuple(samples), options["margin"], "stated")
        if told_w is not None:
            return duration, told_w
        return duration, wiring.learnt(argv)[1] or 300.0
    duration, learnt_w = wiring.learnt(argv)
    return duration, told_w or learnt_w or 300.0


def _with_start(duration: Duration, start_s: float) -> Duration:
    """Return the duration with what the engine takes to start the job, a sleeping node's wake included."""
    if not start_s or not duration.known:
        return duration
    told = f"{duration.source}, and {format_duration(start_s)} to start it there"
    return Duration(tuple(sample + start_s for sample in duration.samples_s), duration.margin, told)


def _directed(options: dict[str, Any], argv: tuple[str, ...]) -> None:
    """Take what was not said from an sbatch line and its script: the time limit is an upper bound of the duration."""
    from joulewise.launching.slurm_directives import directives, is_sbatch

    if not is_sbatch(argv):
        return
    told = directives(argv, os.getcwd())
    if told.limit_s and not options["duration"]:
        options["duration"] = f"{told.limit_s:g}s"
    options["cpus"], options["gpus"] = max(options["cpus"], told.cpus), max(options["gpus"], told.gpus)
    options["name"] = options["name"] or told.name or None
    if told.memory_bytes and options["memory"] == "0B":
        options["memory"] = f"{told.memory_bytes}B"


def _signal(text: str) -> str:
    if not text:
        return ""
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    if name not in signal.Signals.__members__ or name in ("SIGKILL", "SIGSTOP"):
        raise UsageError(
            f"--checkpoint is {text!r}, but must be a signal that a program can handle, for instance USR1"
        )
    return name


def _named(texts: tuple[str, ...]) -> dict[str, str]:
    named = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or (not equals and name not in os.environ):
            raise UsageError(
                f"--env is {text!r}, but there is no variable of this name; write NAME or NAME=VALUE"
            )
        named[name] = value if equals else os.environ[name]
    return named


def _check_budget(text: str) -> None:
    from joulewise import wiring
    from joulewise.vocabulary.budget import Budget

    Budget.parse(text, wiring.settings().currency)
