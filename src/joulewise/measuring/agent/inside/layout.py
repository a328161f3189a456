"""Where what stands on the page: 512 numbers (float64), written by the agent, read by the recorder.

The order of the kinds is that of `vocabulary.observed.Phase`, which the agent must not import.
"""

from __future__ import annotations

VERSION = 1.0
NUMBERS = 512
SIZE = NUMBERS * 8

PHASES = (
    "setup", "import", "data", "forward", "backward", "optimiser", "validation", "checkpoint", "logging", "other",
    "waiting", "idle_after_finish", "unknown",
)  # fmt: skip
(SETUP, IMPORT, DATA, FORWARD, BACKWARD, OPTIMISER, VALIDATION, CHECKPOINT, LOGGING, OTHER, WAITING) = range(
    11
)
GAP, UNSAMPLED = 13, 14  # no hooked call is active; steps that are counted and not timed

MAGIC, BEGAN, CURRENT, SINCE, CPU_AT, OWN_AT, ENDED, CPU_BEGAN = range(8)
STEPS, SAMPLES, EVALUATIONS, REQUESTS = 8, 9, 10, 11
UNSAMPLED_STEPS, UNSAMPLED_WALL, UNSAMPLED_CPU = 12, 13, 14
EVAL_T, EVAL_STEP, EVAL_BATCHES, EVAL_ITEMS, EVAL_END, EVAL_CPU, EVAL_CPU_END = range(16, 23)
DELAY_AT = 24
SAMPLED_STEPS = 25  # timed while others were not
CALLS, WALL, CPU, BYTES = 32, 48, 64, 80  # 16 each, by kind
SAMPLED = 96  # 16, by kind: the wall seconds of timed steps while others are not timed
BESIDE_CALLS, BESIDE_WALL, BESIDE_CPU = 112, 128, 144  # 16 each: other threads than the main one
OPTIMISERS, MOST_OPTIMISERS = 160, 8  # steps of each
BATCHES, MOST_BATCHES = 176, 8  # pairs: a size of training batches, how many of them
SAMPLED_CALLS = 192  # 16, by kind: calls in those steps
LOADERS, MOST_LOADERS, PER_LOADER = 208, 16, 9
(PASSES, DELIVERED, WAIT, FIRST_WAIT, INDEX, FETCHED, FETCH, FETCH_CPU, COLLATE) = range(PER_LOADER)
