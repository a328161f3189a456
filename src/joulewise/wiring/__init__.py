"""Wiring: the one place that chooses. Which meters, which place, which ledger; everything else takes arguments.

Read it like a list. Nothing here is clever: each function reads the settings, calls one room and hands the result
to another. Heavy imports stay inside the functions, so that a verb pays only for what it uses.
A module for each room that is wired; `wiring.NAME` is how they are called.
"""

from __future__ import annotations

from joulewise.wiring.chosen import settings
from joulewise.wiring.compressing import compress
from joulewise.wiring.features import cached, online_store
from joulewise.wiring.grid import actual, grid_sources, grid_zone, outlook, place, planning_grid, prices
from joulewise.wiring.ledger import (
    account,
    advice,
    find,
    findings,
    open_recording,
    reader,
    recorded_energy,
    recordings,
    refresh,
    repeats,
    store,
    summarise,
)
from joulewise.wiring.meters import FAMILIES, ON_DEMAND, Family, families, survey
from joulewise.wiring.queue import (
    ENGINES,
    SHARES_FILES,
    catch_up,
    engine,
    engine_nodes,
    engine_room,
    jobs_folder,
    jobs_place,
    learnt,
    queue_store,
    recorded,
    renew_queue,
    submit,
)
from joulewise.wiring.recording import (
    INSIDE,
    load_ipython_extension,
    recorder,
    report,
    serving_period,
    track,
    watch,
)
from joulewise.wiring.remedies import REMEDIES, remedied
from joulewise.wiring.sharing import sharing
from joulewise.wiring.studies import checkpoints, metered, needs_search, optuna_plug, search
from joulewise.wiring.team import push, send_later, team_store, team_store_place
from joulewise.wiring.totals import budget_used, joules, landings, look_into, read_old, targets, totals

__all__ = ["ENGINES", "FAMILIES", "INSIDE", "ON_DEMAND", "REMEDIES", "SHARES_FILES", "Family", "account", "actual", "advice", "budget_used", "cached", "catch_up", "checkpoints", "compress", "engine", "engine_nodes", "engine_room", "families", "find", "findings", "grid_sources", "grid_zone", "jobs_folder", "jobs_place", "joules", "landings", "learnt", "load_ipython_extension", "look_into", "metered", "needs_search", "online_store", "open_recording", "optuna_plug", "outlook", "place", "planning_grid", "prices", "push", "queue_store", "read_old", "reader", "recorded", "recorded_energy", "recorder", "recordings", "refresh", "remedied", "renew_queue", "repeats", "report", "search", "send_later", "serving_period", "settings", "sharing", "store", "submit", "summarise", "survey", "targets", "team_store", "team_store_place", "totals", "track", "watch"]  # fmt: skip
