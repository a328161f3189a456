"""One thread for torch: on a busy machine a second one spins in vain."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
