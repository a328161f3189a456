"""Launching: start work somewhere and keep hold of it.

Two things that look alike. The recorder's child (local.py) is as transparent as a shell and lives with its parent. A job
(port.py) outlives whoever started it: an engine takes an Order and gives a handle, by which any process can ask, pause and
end it. One file for each engine: local_jobs.py (with keeper.py), slurm.py, ray.py, kubernetes.py; slurm_cap.py caps a
cluster instead of moving jobs.

Start reading at port.py. Terms: the *tree* of a process is itself, its descendants, and whatever carries its mark
in the environment; *grace* is the time between asking a tree to end and killing it; a *key* names one attempt at a job.
"""
