"""Vocabulary: the nouns everybody shares and the arithmetic between them (standard library only).

Start reading at figures.py (a number that says how it is known), then recording.py (what one process tree did),
footprint.py (what it cost) and budget.py (what it may cost). errors.py draws the tree of what can go wrong.
"""
