"""Launching: start work somewhere and keep hold of it.

Takes a command and an environment, and returns a process to wait for, to signal and to end. Local processes are
here; each cluster engine is a file of its own with the same few verbs.

Start reading at local.py. Terms: the *tree* of a process is itself, its descendants, and whatever carries its mark
in the environment; *grace* is the time between asking a tree to end and killing it.
"""
