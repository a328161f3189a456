"""`joulewise show RUN`: the card of a recording, and how each of its figures is known."""

from __future__ import annotations

import click

from joulewise import wiring
from joulewise.cli.card import render
from joulewise.cli.output import echo, figure_text, json_option, local_time, plain, table, zone_option
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.quantities import format_duration, format_si

_UNITS = {"intensity": "g/kWh", "embodied": "g", "price": "/kWh", "joules": "J"}


@click.command("show")
@click.argument("run", metavar="RUN", default="latest")
@zone_option
@json_option
def command(run: str, zone: str | None, as_json: bool) -> None:
    """Show what a recording cost, and how each figure is known.

    RUN is `latest`, the beginning of an id or of a name (its latest), or the folder of a recording.
    """
    account = wiring.account(wiring.find(run), zone)
    if as_json:
        from joulewise.cli.results import account_json

        echo(account_json(account))
        return
    echo(render(account, wiring.advice(account), more=False))
    echo("\n\n".join(part for part in _parts(account) if part))


def _parts(account: Account) -> list[str]:
    recording = account.recording
    about = [
        ("id", recording.run_id),
        ("started", local_time(recording.started_utc)),
        ("command", plain(" ".join(recording.command), 300)),
        ("machine", _machine(account)),
        *((key, plain(value)) for key, value in _told(account)),
    ]
    width = max(len(word) for word, _ in about)
    return [
        "\n".join(f"  {word:<{width}}  {text}" for word, text in about if text),
        _devices(account),
        _phases(account),
        _factors(account),
        _notes(account),
    ]


def _machine(account: Account) -> str:
    machine = account.recording.machine
    cpus = f"{machine.owned_cpus:g} of {machine.cpus} CPUs" if machine.owned_cpus is not None else ""
    return ", ".join(p for p in (plain(machine.host, 60), plain(machine.cpu_model, 80), cpus) if p)


def _told(account: Account) -> list[tuple[str, object]]:
    metadata, params = account.recording.metadata, account.recording.params
    told: list[tuple[str, object]] = []
    git = metadata.get("git")
    if isinstance(git, dict) and git.get("revision"):
        told.append(("git", f"{str(git['revision'])[:12]}{' with changes' if git.get('dirty') else ''}"))
    for key, value in params.items():
        told.append((plain(key, 30), ", ".join(map(str, value)) if isinstance(value, list) else value))
    return told


def _devices(account: Account) -> str:
    rows = [
        [
            plain(d.device.id, 40),
            d.device.basis.word,
            figure_text(d.total_j, "J"),
            figure_text(d.work_j, "J")
            if d.device.counted
            else f"in {plain(d.device.within, 30) or 'no sum'}",
            _short(d.idle_j),
            _short(d.others_j),
            plain(d.device.source, 60),
        ]
        for d in account.devices
    ]
    if not rows:
        return "No device's energy was read."
    heads = ("device", "basis", "in all", "this work", "idle", "others", "source")
    return table(rows, heads, right=(2, 3, 4, 5))


def _short(figure: Figure | None) -> str:
    return "unknown" if figure is None else format_si(figure.value, "J", 2)


def _phases(account: Account) -> str:
    rows = [
        [plain(p.name, 40), str(p.calls), format_duration(p.seconds), figure_text(p.energy_j, "J")]
        for p in account.phases[:20]
    ]
    return table(rows, ("phase", "calls", "time", "energy"), right=(1, 2, 3)) if rows else ""


def _factors(account: Account) -> str:
    rows = []
    for name, figure in account.footprint.factors.items():
        unit = _UNITS.get(name, "")
        value = f"{figure.value:.4g} ({figure.low:.3g}–{figure.high:.3g}) {unit}".strip()
        rows.append([name, value, figure.basis.word, plain(figure.source, 120)])
    rows += [[name, "unknown", "", plain(why, 160)] for name, why in account.footprint.unknown.items()]
    return table(rows, ("factor", "value", "basis", "source"))


def _notes(account: Account) -> str:
    notes = [
        f"  {format_duration(n.t_s):>8}  {plain(n.kind, 20)}: {plain(n.text, 300)}"
        for n in account.recording.notes
    ]
    damage = [f"  damaged: {plain(line, 200)}" for line in account.recording.damage[:10]]
    return "\n".join([*notes[-30:], *damage])
