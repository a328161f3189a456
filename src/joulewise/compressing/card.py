"""A card of what compressing came to: for people in Markdown, for programs as JSON fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

from joulewise.compressing.compress import BASE, Compressed, Kept
from joulewise.vocabulary.quantities import format_si


def fields(told: Compressed) -> dict[str, Any]:
    """Return the card as JSON fields; what is not known is null."""
    out = asdict(told)
    for one in out["kept"]:
        one["file"] = f"{one['name']}.onnx"
        del one["path"]
    out["pays_after"] = {
        size: requests if isfinite(requests) else None for size, requests in told.pays_after.items()
    }
    return out


def markdown(told: Compressed) -> str:
    """Return the card as Markdown."""
    heads = head(told)
    better, by = (
        "smaller" if told.lower_is_better else "larger",
        "its energy counters" if told.counted else "CPU time",
    )
    judged = (
        f"Judged by {told.metric} on {told.rows:,} rows (the {better} the better; a drop of at most {told.most_drop:.4g}), "
        f"measured on this host ({told.device}) by {by}, in turn with fp32."
    )
    lines = [
        f"# {told.name}",
        "",
        judged,
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(row(one)) + " |" for one in told.kept),
        "",
    ]
    if told.left_out:
        lines += ["Left out:", "", *(f"- **{name}**: {why}" for name, why in told.left_out.items()), ""]
    lines += [f"{closing(told)}", ""]
    return "\n".join(lines)


def head(told: Compressed) -> list[str]:
    """Return the heads of the table's columns."""
    sizes = list(told.kept[0].cpu_s)
    costs = [f"{_unit(told)} at batch {n}" for n in sizes]
    return ["variant", told.metric, "90 %", "drop", *costs, "beside fp32", "cold start"]


def row(one: Kept) -> list[str]:
    """Return a variant's line of the table."""
    ratios = ", ".join(f"{span.value:.2f}x" for span in one.ratios.values()) or "1"
    drop = "" if one.drop is None else f"{one.drop.value:.4g} ({one.drop.low:.2g} to {one.drop.high:.2g})"
    return [
        one.name,
        f"{one.quality.value:.4g}",
        f"{one.quality.low:.4g} to {one.quality.high:.4g}",
        drop,
        *(_cost(one, size) for size in one.cpu_s),
        ratios,
        f"{one.cold_start_s:.2f} s"
        + ("" if one.cold_start_j is None else f", {format_si(one.cold_start_j, 'J')}"),
    ]


def closing(told: Compressed) -> str:
    """Return what compressing has cost, and from how many requests on it pays."""
    if told.kept[0].name == BASE:
        return "No variant passed both gates: fp32 is what there is to serve."
    spent = "unknown joules" if told.spent_j is None else format_si(told.spent_j, "J")
    return f"Compressing took {spent}; {pays(told.kept[0].name, told.pays_after)}."


def pays(name: str, after: Mapping[int, float]) -> str:
    """Return from how many requests on a variant has saved what compressing took."""
    if not after:
        return "after how many requests it pays is not known"
    told = ", ".join(f"{requests:,.0f} requests in batches of {size}" if isfinite(requests) else f"never in batches of {size}"
                     for size, requests in after.items())  # fmt: skip
    return f"{name} pays after {told}"


def _unit(told: Compressed) -> str:
    return "joules" if told.kept[0].joules else "CPU time"


def _cost(one: Kept, size: int) -> str:
    return format_si(one.joules[size], "J") if one.joules else format_si(one.cpu_s[size], "s")
