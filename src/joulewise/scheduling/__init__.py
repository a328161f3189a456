"""Scheduling: when, where and on what flexible work should run.

Takes Jobs (what, how long, by when), signals of the grid and prices, and returns a Plan: one Placement per job, and
for each job left out the reason. `plan()` is pure; `launching` carries a Plan out; what really happened is settled in
settle.py. What to run on is decided in instances.py, rightsize.py and consolidate.py.

Start reading at plan.py; slots.py and ladder.py hold its arithmetic, fleet.py the many jobs under one capacity.
Terms: slack is deadline minus earliest finish; a *slot* is a stretch of time in which every price is constant.
"""
