"""How much power a processor draws at a load: the measured curve, and how well watts are known without a counter.

Measured: RAPL package watts of eleven AWS bare-metal servers at 0 to 100 % load in steps of 10 (turbostress reports by
benjamin-davy, 2021, CC0-1.0). The median of P(u) / P(100 %) is concave: half load draws 73 % of full. Left out in
turn, a server's shape is met within 7.7 % on average, where a straight line from idle to full misses by 20 %.

The interval is a Student-t prediction interval (Hahn & Meeker, Statistical Intervals, 1991, section 4.3) of
log(watts / (sockets x TDP)) over the servers, at each load by itself:

    watts = sockets x TDP x exp(mean +- t(0.95; n - 1) x deviation x sqrt(1 + 1 / n)),  n = 11

It holds everything that is not known of a user's machine: its idle watts, its power limits and settings, and how far
its TDP is from what it draws. Left out in turn (all fitted anew on the other ten), 109 of 121 points lie in it: 90 %.
`bench/load_curve.py` computes these figures and the constants below.

A virtual machine does not know which part of its socket it owns: the vCPUs' share of the threads is taken, with a
factor of 1.4 either way (our assumption). Of an unknown processor we take a cloud's mean watts per vCPU (Cloud Carbon
Footprint: AWS 3.5, GCP 4.26, Azure 3.76 at full load), -60/+100 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot, log, sqrt

from joulewise.vocabulary.figures import Basis, Figure, relative
from joulewise.vocabulary.student import t95

# median P(u) / P(100 %) at 0, 10, ..., 100 % load
_SHAPE = (0.123, 0.313, 0.413, 0.514, 0.63, 0.726, 0.799, 0.86, 0.922, 0.978, 1.0)
# mean and deviation of log(P(u) / (sockets x TDP)) at the same loads
_SPREAD = (
    (-1.874, 0.374), (-1.076, 0.148), (-0.802, 0.188), (-0.602, 0.204), (-0.433, 0.239), (-0.297, 0.26),
    (-0.211, 0.296), (-0.136, 0.3), (-0.082, 0.31), (-0.04, 0.321), (0.022, 0.263),
)  # fmt: skip
_SERVERS = 11
IDLE_SHARE_LOW, IDLE_SHARE_HIGH = 0.094, 0.384  # the range of P(0) / P(100 %) over the servers

_VCPU_W = 3.8  # at full load, mean of three clouds
_VCPU_BELOW, _VCPU_ABOVE = 0.6, 1.0
_SHARE_OF_SOCKET = log(1.4)


@dataclass(frozen=True, slots=True)
class Spread:
    """The fit of one load: mean and deviation of log(watts / known watts) over `servers`."""

    mean: float
    deviation: float
    servers: int

    @property
    def arm(self) -> float:
        """Half the width of the 90 % prediction interval for one more server, on the log scale."""
        return t95(self.servers - 1) * self.deviation * sqrt(1 + 1 / self.servers)

    def interval(self) -> tuple[float, float]:
        """Return the 90 % prediction interval for one more server, on the log scale."""
        return self.mean - self.arm, self.mean + self.arm


def fit(logs: Sequence[float]) -> Spread:
    """Return the fit of log(watts / known watts) of 2 to 11 servers at one load."""
    import statistics

    return Spread(statistics.mean(logs), statistics.stdev(logs), len(logs))


def share_of_full_load(utilisation: float) -> float:
    """Return P(u) / P(100 %) at a utilisation from 0 to 1: the median of the servers, straight between its points."""
    return _between([(s, 0.0) for s in _SHAPE], utilisation)[0]


def arms(utilisation: float) -> tuple[float, float]:
    """Return the relative arms (below, above) of the 90 % interval of modelled watts at a utilisation from 0 to 1.

    Around sockets x TDP x exp(mean at full load) x shape: a real machine, whose processor's TDP is known.
    """
    mean, deviation = _between(list(_SPREAD), utilisation)
    offset = (
        mean - _SPREAD[-1][0] - log(share_of_full_load(utilisation))
    )  # the median's shape is not the mean's
    arm = Spread(mean, deviation, _SERVERS).arm
    return 1 - exp(min(0.0, offset - arm)), exp(max(0.0, offset + arm)) - 1


def full_load(
    *, cpus: int, tdp_w: float | None, sockets: int | None, threads: int | None, virtual: bool
) -> Figure:
    """Return the watts of a machine's processors at full load, with the interval at full load.

    `tdp_w` and `threads` are one processor's (None: unknown), `sockets` the machine's, `cpus` what the kernel counts.
    """
    low, high = arms(1.0)
    centre = exp(_SPREAD[-1][0])
    if tdp_w is not None and threads and virtual:
        below, above = _wider(low, high)
        return relative(
            centre * tdp_w * cpus / threads,
            below,
            above,
            Basis.MODELLED,
            f"{cpus} of {threads} threads x {tdp_w:g} W TDP",
        )
    if tdp_w is not None and not virtual:
        number = sockets or max(1, round(cpus / threads)) if threads else sockets or 1
        return relative(centre * tdp_w * number, low, high, Basis.MODELLED, f"{number} x {tdp_w:g} W TDP")
    return relative(
        _VCPU_W * cpus,
        _VCPU_BELOW,
        _VCPU_ABOVE,
        Basis.ASSUMED,
        f"{_VCPU_W:g} W per vCPU, mean of three clouds",
    )


def _wider(low: float, high: float) -> tuple[float, float]:
    below, above = hypot(log(1 - low), _SHARE_OF_SOCKET), hypot(log(1 + high), _SHARE_OF_SOCKET)
    return 1 - exp(-below), exp(above) - 1


def _between(points: Sequence[tuple[float, float]], utilisation: float) -> tuple[float, float]:
    """Return the pair at a utilisation, on a straight line between the points at 0, 10, ..., 100 %."""
    place = min(1.0, max(0.0, utilisation)) * (len(points) - 1)
    left = min(int(place), len(points) - 2)
    part = place - left
    (a, b), (c, d) = points[left], points[left + 1]
    return a + part * (c - a), b + part * (d - b)
