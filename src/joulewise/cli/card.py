"""The card: what a recording cost, in a few lines, each figure with its interval and how it is known.

    digits · finished in 42.1 s
      energy   1.1 kJ (0.7–1.8)       modelled   cpu 0.8 kJ · memory 0.2 kJ · to the wall 0.13 kJ
      carbon   0.14 g (0.02–0.31)     assumed    no zone is set: give --zone DE; grams are over the world's range
      ...

`run` shows it when the program has ended and `show` whenever it is asked for; both compute it from the recording.
"""

from __future__ import annotations

from collections.abc import Iterable

from joulewise.cli.output import UNKNOWN, plain
from joulewise.measuring.accounting import Account, Usage
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.footprint import Footprint
from joulewise.vocabulary.quantities import (
    format_bytes,
    format_duration,
    format_figure,
    format_money,
    format_si,
)
from joulewise.vocabulary.recording import Component, EndState, Recording

_COMPONENT_WORDS = {Component.OTHER: "to the wall"}
_FIGURE_WIDTH = 24
_MOST_MISSING = 3


def render(account: Account, advice: str = "", *, more: bool = True) -> str:
    """Return the card. `advice` is the first finding, where there is one; `more` tells how to see more."""
    recording, cost = account.recording, account.footprint
    lines = [headline(recording)]
    lines.append(_figure_line("energy", cost.total_j, "J", _components(cost)))
    lines.append(_figure_line("carbon", cost.carbon_g, "g", _carbon_words(cost), "CO2e"))
    lines.append(_cost_line(cost))
    lines.append(_line("used", usage_words(account.usage)))
    if cost.idle_j is not None and cost.idle_j.value > 0:
        idle = (
            f"{format_figure(cost.idle_j, 'J')} were drawn by idle hardware meanwhile, counted nowhere above"
        )
        lines.append(_line("idle", idle))
    lines += [_line(word, text) for word, text in _warnings(recording, cost)]
    if advice:
        lines.append(_line("advice", advice))
    if more:
        lines.append(_line("more", f"joulewise show {recording.run_id}"))
    return "\n".join(lines) + "\n"


def headline(recording: Recording) -> str:
    """Return who did what and how it ended."""
    return f"{plain(recording.name, 60)} · {end_words(recording)}"


def end_words(recording: Recording) -> str:
    """Return how a recording ended, in words: `finished in 42.1 s`."""
    end, time = recording.end, format_duration(recording.duration_s)
    reason = f" ({plain(end.reason, 160)})" if end.reason else ""
    return {
        EndState.FINISHED: f"finished in {time}{reason}",
        EndState.FAILED: f"failed after {time}{reason}",
        EndState.KILLED: f"killed after {time}{reason}",
        EndState.STOPPED: f"stopped by its budget after {time}{reason}",
        EndState.RUNNING: f"running for {time}",
        EndState.LOST: f"lost after {time}: the recorder was killed; what it had seen until then is here",
    }[end.state]


def usage_words(usage: Usage) -> str:
    """Return how the work used the machine, leaving out what is not known."""
    parts = []
    if usage.mean_cpus is not None:
        share = (
            f" ({100 * usage.cpu_utilisation:.0f} % of its CPUs)" if usage.cpu_utilisation is not None else ""
        )
        parts.append(f"{usage.mean_cpus:.2f} CPUs{share}")
    if usage.gpu_utilisation:
        mean = sum(usage.gpu_utilisation.values()) / len(usage.gpu_utilisation)
        parts.append(f"{len(usage.gpu_utilisation)} GPU {100 * mean:.0f} %")
    if usage.peak_resident_bytes:
        parts.append(f"{format_bytes(usage.peak_resident_bytes)} of memory")
    if usage.read_bytes is not None and usage.written_bytes is not None:
        parts.append(f"read {format_bytes(usage.read_bytes)}, wrote {format_bytes(usage.written_bytes)}")
    parts.append(
        "I/O wait unknown" if usage.io_wait_share is None else f"I/O wait {100 * usage.io_wait_share:.0f} %"
    )
    if usage.throughput_per_s is not None:
        parts.append(f"{format_si(usage.throughput_per_s, plain(usage.throughput_of, 20))}/s")
    return " · ".join(parts)


def _components(cost: Footprint) -> str:
    if cost.total_j is None:
        return cost.unknown.get("joules", "")
    parts = sorted(cost.energy_j.items(), key=lambda item: -item[1].value)
    return " · ".join(f"{_COMPONENT_WORDS.get(c, c.value)} {format_si(f.value, 'J', 2)}" for c, f in parts)


def _carbon_words(cost: Footprint) -> str:
    words = [cost.unknown["zone"]] if "zone" in cost.unknown else []
    intensity = cost.factors.get("intensity")
    if not words and intensity is not None:
        words.append(f"{intensity.value:.0f} g/kWh, {intensity.source}")
    if cost.embodied_g is not None:
        words.append(f"making the hardware: {format_figure(cost.embodied_g, 'g')} more")
    return "; ".join(words)


def _cost_line(cost: Footprint) -> str:
    if cost.cost is None:
        return _line("cost", f"{UNKNOWN}: {cost.unknown.get('cost', 'the energy is not known')}")
    money = format_money(cost.cost, cost.currency)
    price = cost.factors["price"].source if "price" in cost.factors else ""
    return _line("cost", f"{money:<{_FIGURE_WIDTH}} {cost.cost.basis.word:<9} {price}")


def _figure_line(word: str, figure: Figure | None, unit: str, words: str, what: str = "") -> str:
    if figure is None:
        return _line(word, f"{UNKNOWN}{f': {words}' if words else ''}")
    text = f"{format_figure(figure, unit)}{f' {what}' if what else ''}"
    return _line(word, f"{text:<{_FIGURE_WIDTH}} {figure.basis.word:<9} {words}".rstrip())


def _warnings(recording: Recording, cost: Footprint) -> Iterable[tuple[str, str]]:
    for missing in cost.missing[:_MOST_MISSING]:
        remedy = f"; {missing.remedy}" if missing.remedy else ""
        yield "missing", plain(f"{missing.source}: {missing.why}{remedy}", 300)
    if len(cost.missing) > _MOST_MISSING:
        yield "missing", f"{len(cost.missing) - _MOST_MISSING} more: joulewise doctor"
    if recording.damage:
        yield "damage", f"{len(recording.damage)} lines of the recording could not be read and were left out"


def _line(word: str, text: str) -> str:
    return f"  {word:<8} {text}"
