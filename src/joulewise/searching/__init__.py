"""Searching: good settings from few full runs, counted in joules.

Takes an objective (a generator, or a function that saves checkpoints), a `Space` and a `Budget`, and returns a
`Study`: what was tried, the best settings, and for each start, promotion and stop the reason. Trials are frozen and
thawed: a trial is trained a little, paused, and goes on only while that promises the most gain per joule.

Start reading at deciding.py: `decide` is a pure function of what was seen, so a study can be replayed. space.py says
what may be tried, history.py what was seen, curves.py how a paused trial would end, cost.py what it would cost,
fidelity.py from which epoch on ranks can be trusted, proposing.py what to try next. worker.py is the shell that trains,
crew.py several of them, ordering.py the way in, log.py where they keep what they share, journal.py what it means.

Terms: a fidelity is a number of epochs; a rung is a fidelity at which a trial may pause; a promotion lets a paused
trial go on to its next rung.
"""

from joulewise.searching.ordering import search as search
from joulewise.searching.space import Choice as Choice
from joulewise.searching.space import Float as Float
from joulewise.searching.space import Int as Int
from joulewise.searching.space import Space as Space
from joulewise.searching.study import Study as Study
