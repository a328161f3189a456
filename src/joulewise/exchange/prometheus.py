"""Prometheus: what runs now and what ended lately, in the text format 0.0.4 (`/metrics` of the dashboard).

    joulewise_work_energy_joules_total{run, name, host, component}     this work's joules at its devices
    joulewise_work_energy_low_joules, ..._high_joules{run, ...}        the ends of its 90 % interval
    joulewise_machine_energy_joules_total{run, name, host}             all tenants of the machine meanwhile
    joulewise_idle_energy_joules_total{run, name, host}                what stood by for this work
    joulewise_run_seconds{run, ...}, joulewise_run_running{run, ...}   how long, and whether it goes on
    joulewise_runs{state}                                              recordings in the ledger

A run is shown while it goes on and for ten minutes after, so that its last value is scraped and the number of series stays
small. Counters of one run only grow; `docs/exchange/services.md` has recording rules and a dashboard for Grafana.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from joulewise.ledger.summary import Summary
from joulewise.vocabulary.recording import EndState
from joulewise.vocabulary.text import plain

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[Mapping[str, str], float]


def write(runs: Sequence[Summary], counts: Mapping[str, int]) -> str:
    """Return the page: `runs` are shown one by one, `counts` are recordings by state."""
    about = [{"run": r.run_id, "name": plain(r.name, 80), "host": plain(r.host, 80)} for r in runs]
    both = list(zip(runs, about, strict=True))
    work: list[Sample] = [
        ({**labels, "component": component}, joules)
        for run, labels in both
        for component, joules in (run.components_j or {}).items()
        if joules is not None
    ]
    families: list[tuple[str, str, str, Iterable[Sample]]] = [
        (
            "joulewise_work_energy_joules_total",
            "counter",
            "Joules of the recorded work at its devices.",
            work,
        ),
        (
            "joulewise_work_energy_low_joules",
            "gauge",
            "Low end of the 90 % interval of the work's joules.",
            [(labels, r.energy_j.low) for r, labels in both if r.energy_j is not None],
        ),
        (
            "joulewise_work_energy_high_joules",
            "gauge",
            "High end of the 90 % interval of the work's joules.",
            [(labels, r.energy_j.high) for r, labels in both if r.energy_j is not None],
        ),
        (
            "joulewise_machine_energy_joules_total",
            "counter",
            "Joules of the machine's devices meanwhile, all tenants.",
            [(labels, r.machine_j.value) for r, labels in both if r.machine_j is not None],
        ),
        (
            "joulewise_idle_energy_joules_total",
            "counter",
            "Joules that stood by for this work.",
            [(labels, r.idle_j.value) for r, labels in both if r.idle_j is not None],
        ),
        (
            "joulewise_run_seconds",
            "gauge",
            "How long the run has lasted.",
            [(labels, r.duration_s) for r, labels in both],
        ),
        (
            "joulewise_run_running",
            "gauge",
            "1 while the run goes on.",
            [(labels, float(r.state is EndState.RUNNING)) for r, labels in both],
        ),
        (
            "joulewise_runs",
            "gauge",
            "Recordings in the ledger, by state.",
            [({"state": s}, float(n)) for s, n in counts.items()],
        ),
    ]
    return "".join(_family(*family) for family in families)


def _family(name: str, kind: str, words: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inside}}} {value!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return a label's value as the format writes it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
