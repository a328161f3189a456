"""What a call of a framework costs before it computes anything.

A forward pass costs a + b x items: a is dispatch, allocation and Python, b the arithmetic. Both are known where the same
process ran the model at a small and at a large batch. Where it did not, only a lower bound of `a` is claimed.
"""

from __future__ import annotations

CALL_S = 40e-6  # a forward pass of the smallest networks on a CPU: 40 to 150 µs
GRADIENT = 1.25  # a forward pass that keeps its activations, and the loss, over one that does not
BACKWARD = 2.0  # arithmetic of a backward pass over that of its forward pass
