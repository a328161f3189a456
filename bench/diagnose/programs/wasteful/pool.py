# cause: repeated_preprocessing
"""Tries some settings in a pool whose workers each prepare the table."""
import multiprocessing as mp

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

SALES = 60000  # vary: 60000, 40000
WORKERS = 1  # vary: 1, 2


def sales():
    rng = np.random.default_rng(0)
    return pd.DataFrame({"shop": rng.integers(0, 300, SALES), "day": rng.integers(0, 700, SALES), "item": rng.integers(0, 40, SALES), "sold": rng.poisson(5, SALES) + rng.normal(size=SALES)})


def prepare():
    out = []
    for _, group in sales().sort_values(["shop", "item", "day"]).groupby(["shop", "item"]):
        past = group["sold"].shift(1).rolling(3, min_periods=1)
        out.append(pd.DataFrame({"mean": past.mean(), "max": past.max(), "day": group["day"] % 7, "sold": group["sold"]}))
        if len(out) >= 1200:
            break
    return pd.concat(out).dropna()


READY = None  # fixed: READY = prepare()


def evaluate(alpha):
    table = READY if READY is not None else prepare()
    half = len(table) // 2
    model = Ridge(alpha=alpha).fit(table[["mean", "max", "day"]][:half], table["sold"][:half])
    return model.score(table[["mean", "max", "day"]][half:], table["sold"][half:])


if __name__ == "__main__":
    with mp.Pool(WORKERS) as pool:
        print(f"r2 {max(pool.map(evaluate, [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0], chunksize=1)):.4f}")
