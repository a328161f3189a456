"""`joulewise import sacct`: joules and waste of the jobs that Slurm's accounting knows."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import click

from joulewise import wiring
from joulewise.cli.import_ import runs_folder, text_of
from joulewise.cli.output import echo, echo_json, figure_fields, figure_text, json_option, plain, table
from joulewise.cli.reading import WATTS, quantity
from joulewise.exchange.sacct import COLUMNS, Hardware, imported, read
from joulewise.exchange.sacct_waste import Held, Waste, waste
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.figures import Boundary

_WITHIN_S = 600.0  # a year of a large cluster takes its time
_COVERS = {"device": Boundary.DEVICE, "node": Boundary.NODE}


@click.command("sacct")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--since", metavar="WHEN", help="Without FILE: since when sacct is asked, as it takes it (2025-01-01, now-30days).")  # fmt: skip
@click.option("--until", metavar="WHEN", help="Without FILE: until when.")
@click.option("--all-users", is_flag=True, help="Without FILE: everybody's jobs, not only yours.")
@click.option("--cpu", "cpu_model", metavar="MODEL", default="", help="The nodes' processor, as its kernel names it.")  # fmt: skip
@click.option("--cpu-watts", metavar="W", help="Watts of one allocated CPU at full load, if you know them.")
@click.option("--gpu-watts", metavar="W", help="Mean watts of an allocated GPU; without it GPUs are unknown.")
@click.option("--node-cpus", type=click.IntRange(min=1), metavar="N", help="CPUs of a node: a job with all of them was alone.")  # fmt: skip
@click.option("--energy-covers", type=click.Choice(list(_COVERS)), default="device", show_default=True, help="What the cluster's energy plugin counts: device (rapl) or node (ipmi, xcc, pm_counters).")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what the jobs used and wasted; make no recordings.")
@json_option
def command(
    file: Path | None,
    since: str | None,
    until: str | None,
    all_users: bool,
    cpu_model: str,
    cpu_watts: str | None,
    gpu_watts: str | None,
    node_cpus: int | None,
    energy_covers: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make recordings of the jobs that Slurm accounted for, and say what they wasted.

    FILE is what `sacct --parsable2` printed; without it sacct is asked. A job that was recorded already, by this or by
    `joulewise run` inside it, makes no second recording.
    """
    from joulewise.exchange.imported import keep

    hardware = _hardware(cpu_model, cpu_watts, gpu_watts, node_cpus, _COVERS[energy_covers])
    if file is not None and (since or until or all_users):
        raise UsageError(
            "--since, --until and --all-users are for asking sacct; FILE says which jobs it holds"
        )
    jobs, left_out = read(text_of(file) if file else _ask(since, until, all_users=all_users))
    records = [(job, imported(job, hardware)) for job in jobs]
    new, recorded = list[str](), 0
    if not dry_run:
        runs = runs_folder()
        known = _recorded()
        for job, record in records:
            if job.key in known or f"slurm:{job.id}" in known:
                recorded += 1
            elif (run_id := keep(runs, record)) is not None:
                new.append(run_id)
        wiring.refresh().close()
    found = waste(records)
    if as_json:
        echo_json({"jobs": len(jobs), "left_out": left_out, "new": new, "recorded_otherwise": recorded, **_fields(found)})  # fmt: skip
        return
    already = len(jobs) - len(new) - recorded
    words = [f"{len(new)} recordings made of {len(jobs)} jobs"] if not dry_run else [f"{len(jobs)} jobs; nothing was recorded: this is a dry run"]  # fmt: skip
    words += [f"{already} were there already"] if already and not dry_run else []
    words += [f"{recorded} were recorded while they ran"] if recorded else []
    words += [f"{left_out} wait, run or never ran"] if left_out else []
    echo("; ".join(words))
    for line in _lines(found):
        echo(line)


def _hardware(
    cpu_model: str, cpu_watts: str | None, gpu_watts: str | None, node_cpus: int | None, covers: Boundary
) -> Hardware:
    from joulewise.catalogue.processors import find_processor

    if cpu_model and cpu_watts:
        raise UsageError("--cpu and --cpu-watts both say what a CPU draws; give one of them")
    if cpu_model and find_processor(cpu_model) is None:
        raise UnknownName("processor", cpu_model, (), "(give its watts instead: --cpu-watts 6)")
    return Hardware(
        cpu_model,
        quantity(cpu_watts, WATTS, "--cpu-watts") if cpu_watts else 0.0,
        quantity(gpu_watts, WATTS, "--gpu-watts") if gpu_watts else 0.0,
        covers,
        node_cpus or 0,
    )


def _ask(since: str | None, until: str | None, *, all_users: bool) -> str:
    """Return what sacct prints; UsageError in one line where it cannot."""
    argv = ["sacct", "--parsable2", f"--format={','.join(COLUMNS)}"]
    argv += [f"--starttime={since}"] if since else []
    argv += [f"--endtime={until}"] if until else []
    argv += ["--allusers"] if all_users else []
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            env={**os.environ, "SLURM_TIME_FORMAT": "%s"},
            timeout=_WITHIN_S,
            check=False,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise UsageError(
            "there is no sacct here; give the file that it printed elsewhere: sacct --parsable2 "
            f"--format={','.join(COLUMNS)} > jobs.txt"
        ) from None
    except subprocess.TimeoutExpired:
        raise UsageError(f"sacct did not answer within {_WITHIN_S:.0f} s; ask for less: --since, --until") from None  # fmt: skip
    if done.returncode:
        raise UsageError(f"sacct failed: {plain(' '.join(done.stderr.split()), 300)}")
    return done.stdout


def _recorded() -> set[str]:
    """Return the jobs of which there is a recording that was made while they ran."""
    from joulewise.ledger.index import recorded_jobs

    ledger = wiring.refresh()
    try:
        return recorded_jobs(ledger)
    finally:
        ledger.close()


def _lines(found: Waste) -> list[str]:
    if not found.jobs:
        return []
    total = found.total_j
    rows = [[plain(state, 24), str(count), figure_text(found.energy_j[state], "J")] for state, count in found.jobs.items()]  # fmt: skip
    lines = [table(rows, ("ended", "jobs", "energy at its devices"), right=(1, 2))]
    lost = sum(f.value for s, f in found.energy_j.items() if s != "COMPLETED")
    if total is not None and total.value > 0:
        lines.append(f"did not complete: {100 * lost / total.value:.0f} % of {figure_text(total, 'J')} ({total.basis.word})")  # fmt: skip
    lines.append(_held_words("CPUs", found.cpu_s, "CPU hours", 3600.0, "TotalCPU was not gathered"))
    lines.append(_held_words("memory", found.memory_byte_s, "GB hours", 3600e9, "MaxRSS was not gathered"))
    if found.unknown_gpus:
        lines.append(f"GPUs: {found.unknown_gpus} jobs had some, and what those drew is not in these joules; say it with --gpu-watts")  # fmt: skip
    return lines


def _held_words(what: str, held: Held, unit: str, size: float, unknown: str) -> str:
    if held.share is None:
        return f"{what}: what was used of it is not known ({unknown})"
    words = f"{what}: {held.used / size:.4g} of {held.held / size:.4g} {unit} allocated were used ({100 * held.share:.0f} %)"
    return f"{words}, in {held.jobs} jobs"


def _fields(found: Waste) -> dict[str, Any]:
    return {
        "by_state": {
            state: {"jobs": count, "energy_j": figure_fields(found.energy_j[state])}
            for state, count in found.jobs.items()
        },
        "energy_j": figure_fields(found.total_j),
        "cpu_s": _held_fields(found.cpu_s),
        "memory_byte_s": _held_fields(found.memory_byte_s),
        "jobs_with_unknown_gpus": found.unknown_gpus,
    }


def _held_fields(held: Held) -> dict[str, float | int | None]:
    return {"held": held.held, "used": held.used, "share": held.share, "jobs": held.jobs}
