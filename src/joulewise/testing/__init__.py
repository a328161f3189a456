"""Testing: doubles of the hardware with a known truth, and the contracts that every leaf keeps.

A product, for us and for whoever extends joulewise: `powercap` and `perf` stand in for the processor's energy
counters as the Linux kernel shows them (one of them so well that unmodified programs read it), `clock` for time;
`contracts` are test classes to inherit. Nothing else in joulewise imports this room.
"""
