"""A small picture of a run's power over time, as SVG for a line of a notebook. Pure: numbers in, markup of numbers out."""

from __future__ import annotations

from collections.abc import Sequence

from joulewise.vocabulary.quantities import format_duration, format_si

_WIDTH, _HEIGHT, _MOST = 320, 44, 160


def sparkline(t_s: Sequence[float], watts: Sequence[float | None], start_s: float = 0.0) -> str:
    """Return the mean watts until each moment as steps, "" where fewer than two are known.

    Ink is the text's own colour, so that it is seen on light and dark pages; what it shows stands in its label, too.
    """
    steps = [
        (before, after, w)
        for before, after, w in zip((start_s, *t_s), t_s, watts, strict=False)
        if w is not None
    ]
    if len(steps) < 2 or steps[-1][1] <= start_s:
        return ""
    if len(steps) > _MOST:
        size = -(-len(steps) // _MOST)
        steps = [_merged(steps[at : at + size]) for at in range(0, len(steps), size)]
    top, span_s = max(w for _, _, w in steps) or 1.0, steps[-1][1] - start_s
    line: list[str] = []
    area: list[str] = []
    last_s: float | None = None
    for before, after, watt in steps:
        x1, x2 = (_WIDTH * (t - start_s) / span_s for t in (before, after))
        y = _HEIGHT - (_HEIGHT - 2) * watt / top
        line.append(f"{'L' if last_s == before else 'M'}{x1:.1f} {y:.1f}H{x2:.1f}")  # a gap stays one
        area.append(f"M{x1:.1f} {_HEIGHT}V{y:.1f}H{x2:.1f}V{_HEIGHT}Z")
        last_s = after
    filled, drawn = "".join(area), "".join(line)
    words = f"power over {format_duration(span_s)}, {format_si(top, 'W')} at most"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{words}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}"><title>{words}</title><path d="{filled}" fill="currentColor" fill-opacity="0.15"/>'
        f'<path d="{drawn}" fill="none" stroke="currentColor" stroke-width="1.2"/></svg>'
    )


def _merged(steps: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    seconds = sum(after - before for before, after, _ in steps)
    joules = sum((after - before) * watt for before, after, watt in steps)
    return steps[0][0], steps[-1][1], joules / seconds if seconds > 0 else steps[-1][2]
