"""What an estimator is given: rows and bytes; and what a row costs it in arithmetic, by its size."""

from __future__ import annotations

import sys
from typing import Any


def count(given: Any) -> int:
    """Return how many rows an input has."""
    shape = getattr(given, "shape", None)
    if shape:
        return int(shape[0])
    if hasattr(given, "num_row"):  # XGBoost's matrix
        return int(given.num_row())
    return len(given) if hasattr(given, "__len__") else 0


def bytes_of(table: Any) -> int:
    """Return the bytes of an array, a sparse matrix or a table; of texts, those of their characters."""
    if hasattr(table, "nbytes"):
        return int(table.nbytes)
    if hasattr(table, "memory_usage"):
        used = table.memory_usage(deep=True)
        return int(used.sum() if hasattr(used, "sum") else used)
    if hasattr(table, "indices") and hasattr(table, "data"):
        return int(table.data.nbytes + table.indices.nbytes)
    if isinstance(table, (list, tuple)) and table:
        first = table[:100]
        return len(table) * sum(map(len, map(str, first))) // len(first)
    return 0


def objects(value: Any, depth: int = 0) -> int:
    """Return how many Python objects a value is made of: what a pickle goes through one by one. Arrays are one."""
    if isinstance(value, dict):
        inside = list(value.values())
    elif isinstance(value, (list, tuple, set)):
        inside = list(value)
    elif depth < 3 and type(value).__module__.partition(".")[0] == "sklearn":
        return objects(vars(value), depth + 1)
    else:
        return 1
    if len(inside) > 100:  # many of a kind
        return 2 * len(inside)
    return 1 + sum(objects(one, depth + 1) for one in inside) if depth < 3 else len(inside)


def holds(given: Any, answer: Any) -> bool:
    """Say whether an input holds the answer before it, digit for digit: then each call waits for the last."""
    try:
        numpy = sys.modules["numpy"]
        value = float(numpy.ravel(answer)[0])
        return value != int(value) and bool((numpy.asarray(given, dtype=float) == value).any())
    except Exception:  # noqa: BLE001 - a foreign input may refuse to be an array in its own way
        return False


def row_ns(estimator: Any) -> float | None:
    """Return an upper bound of a row's arithmetic in a large batch, in nanoseconds; None for an estimator that we do not know.

    A multiplication with its addition is taken at 1 ns, a node of a tree at 30 (a visit of the cache behind the first), a
    support vector at 20 beside its products. Ensembles of scikit-learn, XGBoost and LightGBM, linear models, networks.
    """
    try:
        if hasattr(estimator, "steps"):
            parts = [row_ns(step) for _, step in estimator.steps if step not in (None, "passthrough")]
            return None if None in parts else float(sum(parts))  # type: ignore[arg-type]
        columns = 5.0 * int(getattr(estimator, "n_features_in_", 0) or 0)
        if hasattr(estimator, "num_boosted_rounds"):  # XGBoost's own
            return 30.0 * 12 * int(estimator.num_boosted_rounds()) * _groups(estimator)
        if hasattr(estimator, "get_booster"):
            return columns + (row_ns(estimator.get_booster()) or 0.0)
        if hasattr(estimator, "num_trees"):  # LightGBM's own
            return 30.0 * 16 * int(estimator.num_trees())
        if getattr(estimator, "booster_", None) is not None:
            return columns + (row_ns(estimator.booster_) or 0.0)
        if hasattr(estimator, "_predictors"):  # HistGradientBoosting
            return columns + 30.0 * 16 * float(sum(map(len, estimator._predictors)))  # noqa: SLF001
        if hasattr(estimator, "tree_"):
            return columns + 30.0 * int(estimator.tree_.max_depth)
        if hasattr(estimator, "estimators_") and hasattr(estimator.estimators_[0], "tree_"):
            return columns + 30.0 * float(sum(one.tree_.max_depth for one in estimator.estimators_))
        if hasattr(estimator, "estimators_") and getattr(estimator.estimators_, "ndim", 0) == 2:
            return columns + 30.0 * (int(estimator.max_depth or 12)) * int(estimator.estimators_.size)
        if hasattr(estimator, "coefs_"):
            return columns + float(sum(c.size for c in estimator.coefs_))
        if hasattr(estimator, "support_vectors_"):
            vectors = estimator.support_vectors_
            return columns + float(vectors.shape[0] * (vectors.shape[1] + 20))
        for weights in ("coef_", "components_", "cluster_centers_", "scale_", "theta_", "scalings_"):
            if getattr(estimator, weights, None) is not None:
                return columns + 5.0 * int(getattr(estimator, weights).size)
    except Exception:  # noqa: BLE001 - a foreign estimator, not fitted or of another version
        return None
    return None


def _groups(booster: Any) -> int:
    """Return how many trees each round of XGBoost's has: one for each class."""
    import json

    model = json.loads(booster.save_config())["learner"]["learner_model_param"]
    return max(1, int(model.get("num_class", 0)))
