"""Sources: one file for each service that knows something of the grid.

Each is asked through a Fetcher and answers in Signals; what goes wrong is a GridError, and whoever asked goes on
without (`at_hand`). None is asked unless the user said so.

Start reading at port.py.
"""
