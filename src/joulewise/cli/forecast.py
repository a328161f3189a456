"""`joulewise forecast ZONE`: how clean electricity will be, hour by hour, as a small chart."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from joulewise import wiring
from joulewise.cli.output import columns, echo, echo_json, json_option, plain
from joulewise.vocabulary.errors import UsageError

if TYPE_CHECKING:
    from joulewise.grid.at_hand import Outlook
    from joulewise.vocabulary.signal import Signal

_MOST_ROWS = 36
_BLOCKS = " ▏▎▍▌▋▊▉█"
_CLEANEST_H = 6


@click.command("forecast")
@click.argument("zone", metavar="ZONE")
@click.option(
    "--hours", type=click.IntRange(1, 168), default=24, show_default=True, help="How many hours ahead."
)
@click.option(
    "--online",
    is_flag=True,
    help="Ask grid services (GB and Europe need no key). Without it nothing leaves this machine.",
)
@click.option(
    "--history",
    "history_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Take the past from this CSV or Parquet file.",
)
@json_option
def command(zone: str, hours: int, online: bool, history_file: Path | None, as_json: bool) -> None:
    """Show how clean a zone's electricity will be, hour by hour.

    ZONE is a country (DE), a US state (US-CA) or a zone of a grid service (CAISO_NORTH, GB-13). The forecast blends what
    services published with the hours of the past; where nothing is at hand it falls back and says to what.
    """
    found = wiring.outlook(zone, hours, online=online, history_file=history_file)
    if as_json:
        echo_json(_fields(found))
        return
    echo("\n".join(_lines(found)))


def _fields(found: Outlook) -> dict[str, Any]:
    signal = found.signal
    return {
        "zone": signal.zone,
        "kind": signal.meaning.kind.value,
        "factors": signal.meaning.factors.value,
        "scope": signal.meaning.scope.value,
        "unit": signal.meaning.unit,
        "method": found.method,
        "source": signal.source,
        "weights": dict(found.weights),
        "history_h": found.history_h,
        "notes": list(found.notes),
        "hours": [
            {
                "start_utc": when.isoformat(),
                "value": p.value,
                "low": p.low,
                "high": p.high,
                "estimated": p.estimated,
            }
            for when, p in zip(signal.times(), signal.points, strict=True)
        ],
    }


def _lines(found: Outlook) -> list[str]:
    signal = found.signal
    known = [v for v in signal.values if v is not None]
    if not known:
        raise UsageError(f"nothing is known of the next hours of {signal.zone}")
    per_row = -(-len(signal) // _MOST_ROWS)
    shown = signal if per_row == 1 else signal.aligned(3600 * per_row)
    most = max(p.high or p.value or 0.0 for p in shown.points) or 1.0
    room = max(10, min(50, columns() - 44))
    # where all hours are alike none is the cleanest
    cleanest = set(_cleanest(signal)) if len(set(known)) > 1 else set()
    lines = [
        f"{plain(signal.zone)}: {signal.meaning.unit}, {signal.meaning.kind} ({signal.meaning.factors}, {signal.meaning.scope})",
        "",
    ]
    day = ""
    for when, point in zip(shown.times(), shown.points, strict=True):
        local = when.astimezone()
        today = f"{local:%a %d %b}"
        mark = (
            "*"
            if any(when <= t < when + (shown.end_utc - shown.start_utc) / len(shown) for t in cleanest)
            else " "
        )
        bar = _bar((point.value or 0.0) / most, room) if point.value is not None else ""
        told = "unknown" if point.value is None else f"{point.value:.0f}"
        ends = "" if point.low is None or point.high is None else f" ({point.low:.0f}–{point.high:.0f})"
        lines.append(
            f"{today if today != day else '':<10} {local:%H:%M} {mark} {bar:<{room}} {told:>5}{ends}"
        )
        day = today
    lines.append("")
    if cleanest:
        lowest = sum(signal.at(t).value for t in cleanest) / len(cleanest)  # type: ignore[union-attr,misc]
        saved = 100 * (1 - lowest / (sum(known) / len(known))) if sum(known) > 0 else 0.0
        lines.append(
            f"* the cleanest {len(cleanest)} h: {lowest:.0f}, {saved:.0f} % below the mean of {sum(known) / len(known):.0f}"
        )
    lines.append(f"by: {plain(signal.source, 160)}")
    if found.weights:
        told_weights = ", ".join(
            f"{name} {w:.0%}" for name, w in sorted(found.weights.items(), key=lambda r: -r[1]) if w >= 0.005
        )
        lines.append(f"weights: {told_weights} (from {found.history_h} h of history)")
    lines += [f"note: {plain(note, 300)}" for note in found.notes]
    return lines


def _cleanest(signal: Signal) -> list[datetime]:
    times = list(signal.times())
    return [times[i] for i in signal.cheapest(min(_CLEANEST_H, max(1, len(signal) // 4)))]


def _bar(share: float, room: int) -> str:
    eighths = round(max(0.0, min(1.0, share)) * room * 8)
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()
