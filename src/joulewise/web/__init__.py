"""The web: pages made from recordings, one file per page; no page opens a device or the network.

`report.py` makes the single file about one run; `charts.py` draws every picture as inline SVG, so that the same
code serves the page, the README and a printer, and nothing needs JavaScript to be read.

Start reading at report.py.
"""
