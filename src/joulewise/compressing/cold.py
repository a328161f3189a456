"""One cold start, as a program: load a model, answer one request, print the CPU seconds since the process began.

python -m joulewise.compressing.cold MODEL.onnx ROW.npz DEVICE THREADS PRECISION
"""

import sys
import time
from pathlib import Path


def main() -> None:
    """Answer once and tell."""
    import numpy as np

    from joulewise.compressing.runtime import session

    model, rows, device, threads, precision = sys.argv[1:]
    with np.load(rows, allow_pickle=False) as file:
        session(Path(model), int(threads), device, precision).run(None, dict(file))
    print(time.process_time())


if __name__ == "__main__":
    main()
