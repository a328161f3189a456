"""A cap on a Slurm cluster: nodes beyond it are drained, so they end what they run and start nothing new.

Only nodes that carry our reason are ever resumed: a node that somebody else drained is not touched, nor counted. Draining
needs operator rights. Where nodes are powered down when idle, a drained node can be, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from joulewise.launching.slurm_commands import SlurmCommands

REASON = "joulewise cap"
_IDLE_FIRST = ("idle", "mixed", "mix", "completing", "comp", "allocated", "alloc")


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to reach a cap: nodes that were drained and resumed."""

    drained: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()


@final
class SlurmCap:
    """Caps the nodes of one partition ("": of the whole cluster)."""

    def __init__(self, partition: str = "", environment: Mapping[str, str] | None = None) -> None:
        self._partition = partition
        self._commands = SlurmCommands(environment or {})

    def nodes(self) -> tuple[list[str], list[str]]:
        """Return the nodes that may run jobs, those that are idle first, and those that our cap holds back."""
        only = ["-p", self._partition] if self._partition else []
        told = self._commands.run("sinfo", "-h", "-N", *only, "-o", "%N|%T|%E")
        ready: dict[str, int] = {}
        capped: dict[str, None] = {}
        for line in told.splitlines():
            name, state, reason, *_ = (*line.split("|"), "", "")
            word = state.rstrip("*~#!%$@^-+")
            if reason.startswith(REASON):
                capped[name] = None
            elif word in _IDLE_FIRST:
                ready[name] = _IDLE_FIRST.index(word)
        return sorted(ready, key=lambda name: (ready[name], name)), list(capped)

    def hold_to(self, count: int, why: str = "") -> Change:
        """Let `count` of our nodes run jobs; drain idle nodes first, and return what was changed."""
        ready, capped = self.nodes()
        surplus = len(ready) - count
        if surplus > 0:
            self._set(ready[:surplus], "State=DRAIN", f"Reason={REASON}{': ' if why else ''}{why}")
            return Change(drained=tuple(ready[:surplus]))
        wanted = capped[: max(0, -surplus)]
        if wanted:
            self._set(wanted, "State=RESUME")
        return Change(resumed=tuple(wanted))

    def _set(self, nodes: list[str], *changes: str) -> None:
        self._commands.run("scontrol", "update", f"NodeName={','.join(nodes)}", *changes)
