"""The block about carbon of a Hugging Face model card: `co2_eq_emissions` for the front matter, and a paragraph.

Fields and their meaning: the Hub's documentation, "Displaying carbon emissions for your model". `emissions` is one number
of grams; its interval and how it is known stand in `source` and in the paragraph.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from joulewise import __version__
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.footprint import assumed_total
from joulewise.vocabulary.quantities import format_duration, format_figure
from joulewise.vocabulary.recording import Component
from joulewise.vocabulary.text import plain


def write(accounts: Sequence[Account], training_type: str = "") -> str:
    """Return the front matter and the paragraph for all runs together; raises UsageError where grams are unknown."""
    grams = [a.footprint.carbon_g for a in accounts]
    joules = [a.footprint.total_j for a in accounts]
    if None in grams or None in joules:
        raise UsageError(
            "a model card needs grams of every run, but of one they are unknown (joulewise show says why)"
        )
    carbon_g = assumed_total([g for g in grams if g is not None])
    energy_j = assumed_total([j for j in joules if j is not None])
    runs = f"{len(accounts)} runs" if len(accounts) > 1 else "1 run"
    source = f"joulewise {__version__}, {runs}: {format_figure(carbon_g, 'g')} from electricity, 90 % interval, {carbon_g.basis.word}"
    fields = {
        "emissions": round(carbon_g.value, 3),
        "source": source,
        "training_type": training_type,
        "geographical_location": ", ".join(sorted({_zone(a) for a in accounts} - {""})),
        "hardware_used": "; ".join(sorted({hardware(a) for a in accounts})),
    }
    front = "\n".join(f"  {name}: {_yaml(value)}" for name, value in fields.items() if value != "")
    return f"---\nco2_eq_emissions:\n{front}\n---\n\n{_paragraph(accounts, energy_j, carbon_g, runs)}\n"


def _paragraph(accounts: Sequence[Account], energy_j: Figure, carbon_g: Figure, runs: str) -> str:
    time = format_duration(sum(a.recording.duration_s for a in accounts))
    sources = sorted(
        {a.footprint.factors["intensity"].source for a in accounts if "intensity" in a.footprint.factors}
    )
    lines = [
        "## Environmental impact",
        "",
        f"- Energy: {format_figure(energy_j, 'J')} at the wall ({energy_j.basis.word}), over {runs} and {time}",
        f"- Carbon from electricity: {format_figure(carbon_g, 'g')} CO2e ({carbon_g.basis.word}), location-based",
        *(f"- Grid intensity: {plain(source, 200)}" for source in sources),
    ]
    embodied = [a.footprint.embodied_g for a in accounts]
    if None not in embodied:
        made = assumed_total([e for e in embodied if e is not None])
        lines.append(f"- Making the hardware: {format_figure(made, 'g')} CO2e ({made.basis.word})")
    lines.append("- In brackets: 90 % intervals. No offsets are counted.")
    return "\n".join(lines)


def hardware(account: Account) -> str:
    """Return the processor and the GPUs that a run used, in words."""
    machine = account.recording.machine
    parts = [plain(machine.cpu_model, 80) or "unknown processor"]
    if machine.owned_cpus is not None:
        parts[0] += f" ({machine.owned_cpus:g} CPUs)"
    gpus = [
        plain(d.device.model.get("name") or d.device.id, 60)
        for d in account.devices
        if d.device.component is Component.GPU
    ]
    parts += [f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus)]
    return ", ".join(parts)


def _zone(account: Account) -> str:
    return plain(account.recording.metadata.get("zone", ""), 60)


def _yaml(value: object) -> str:
    """Return a scalar for YAML, of which JSON's are a part."""
    return json.dumps(value, ensure_ascii=False)
