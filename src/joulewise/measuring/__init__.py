"""Measuring: watch work and write down what it used.

`recorder.py` ticks: it reads the meters (`meters/`, which know the hardware), the process tree (`process_tree.py`)
and the machine's counters (`counters.py`) and appends a line to the recording. `track.py` is its Python face.
`attribution.py` splits machine joules into this work, idle and others; `accounting.py` makes the account that
every view shows. Both are pure: the same recording gives the same account, years later.

Start reading at recorder.py. Terms: work is the recorded process tree; idle is what the hardware draws with nobody
working; others are all other tenants of the machine.
"""
