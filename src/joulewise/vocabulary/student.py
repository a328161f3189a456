"""Student's t: how far the mean of a few values may lie from the truth."""

from __future__ import annotations

# The 0.95 quantile by degrees of freedom, 1 to 30; above, the first term of the normal's expansion in 1 / freedom.
_T95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753,
        1.746, 1.740, 1.734, 1.729, 1.725, 1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699, 1.697)  # fmt: skip
_Z = 1.6449


def t95(freedom: int) -> float:
    """Return the 0.95 quantile for 1 or more degrees of freedom: half the width of a central 90 % interval."""
    return _T95[freedom - 1] if freedom <= len(_T95) else _Z + (_Z**3 + _Z) / (4 * freedom)
