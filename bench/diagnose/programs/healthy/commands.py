# healthy: the loop asks for commands and works
"""Trains in numpy, and looks for a command to stop at every step."""
import queue
import threading

import numpy as np

STEPS = 60000  # vary: 60000, 40000
WIDTH = 32  # vary: 32, 64
commands, stop = queue.Queue(), threading.Event()
rng = np.random.default_rng(0)
X, true = rng.normal(size=(4000, WIDTH)), rng.normal(size=WIDTH)
y = X @ true + rng.normal(size=4000)
w = np.zeros(WIDTH)
for step in range(STEPS):
    try:
        if commands.get_nowait() == "stop" or stop.is_set():
            break
    except queue.Empty:
        pass
    rows = rng.integers(0, 4000, 64)
    error = X[rows] @ w - y[rows]
    w -= 0.01 / (1 + step / 5000) * X[rows].T @ error / 64
print(f"error {np.linalg.norm(w - true):.4f}")
