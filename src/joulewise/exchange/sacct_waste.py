"""What the jobs of an accounting wasted: joules of failed and timed-out jobs, CPUs and memory that were held and not used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from joulewise.exchange.imported import Imported
from joulewise.exchange.sacct import Job
from joulewise.vocabulary.figures import Basis, Figure, shared_total


@dataclass(frozen=True, slots=True)
class Held:
    """What was held and what of it was used, in one unit, over the jobs of which both are known; `jobs` is how many."""

    held: float
    used: float
    jobs: int

    @property
    def share(self) -> float | None:
        """The used share; None where nothing is known."""
        return self.used / self.held if self.held > 0 else None


@dataclass(frozen=True, slots=True)
class Waste:
    """The jobs together: how many and joules by state, CPU seconds, memory (byte seconds), jobs whose GPUs are not known."""

    jobs: Mapping[str, int]
    energy_j: Mapping[str, Figure]
    cpu_s: Held
    memory_byte_s: Held
    unknown_gpus: int

    @property
    def total_j(self) -> Figure | None:
        """All joules that are known; None without a job."""
        return shared_total(self.energy_j.values()) if self.energy_j else None


def waste(records: Iterable[tuple[Job, Imported]]) -> Waste:
    """Return what jobs wasted. Joules of many jobs add linearly: one model made them all."""
    jobs: dict[str, int] = {}
    joules: dict[str, list[Figure]] = {}
    cpu, memory = [0.0, 0.0, 0], [0.0, 0.0, 0]
    unknown_gpus = 0
    for job, record in records:
        jobs[job.state] = jobs.get(job.state, 0) + 1
        joules.setdefault(job.state, []).append(_energy(record))
        unknown_gpus += any(source == "gpu" for source, _why in record.missing)
        if job.load is not None:
            held = job.cpus * job.elapsed_s
            cpu = [cpu[0] + held, cpu[1] + job.load * held, cpu[2] + 1]
        if job.memory_bytes and job.used_memory_bytes is not None:
            held, used = job.memory_bytes * job.elapsed_s, job.used_memory_bytes * job.elapsed_s
            memory = [memory[0] + held, memory[1] + min(held, used), memory[2] + 1]
    return Waste(
        dict(sorted(jobs.items(), key=lambda item: -item[1])),
        {state: shared_total(parts) for state, parts in joules.items()},
        Held(cpu[0], cpu[1], int(cpu[2])),
        Held(memory[0], memory[1], int(memory[2])),
        unknown_gpus,
    )


def _energy(record: Imported) -> Figure:
    """Return a record's joules at its devices."""
    parts = [
        Figure(j, j * max(0.0, 1 - known.below), j * (1 + known.above), known.basis)
        for component, j in record.energy_j.items()
        for known in [record.known[component]]
    ]
    return shared_total(parts) if parts else Figure(0.0, 0.0, 0.0, Basis.ASSUMED)
