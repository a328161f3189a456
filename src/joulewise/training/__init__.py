"""Training: the same quality for less compute.

Takes a learning curve, the learning-rate schedule in view and what a step costs, and returns a `Decision` (go on, stop,
or bring the next drop forward, with the reason in one line); plans how often and on how many samples to validate; and
judges whether two recipes may be called equal. Decisions are pure and can be replayed on a stored curve; `loop.py` and
the files named after a framework are the shells that carry them out.

Start reading at stopping.py. Terms: horizon is the step at which the run would end by itself; a drop is a planned cut of
the learning rate; patience is what the usual rule counts, and this one does not.
"""
