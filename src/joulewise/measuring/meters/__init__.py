"""Meters: one leaf per kind of hardware, each a device's energy in joules since it was opened.

`port.py` is the port: a meter has `device`, `read()` and `close()`; a family is a function `find_...() -> Found`
that returns the meters it could open and, with a remedy, the sources that exist but cannot be read. What the
hardware does to us (counters that wrap, watts that must be integrated, files that only root may read) is written
at the top of each leaf and is nobody else's business.

Processor and memory: `rapl` (powercap files), `perf` (the same counters by perf_event, preferred where allowed),
`hwmon` (sensors: AMD sockets, AMD and Intel GPUs, Jetson rails, whole-node power meters). A device seen by two
families has one `uuid`, so that whoever chooses takes it once.
"""
