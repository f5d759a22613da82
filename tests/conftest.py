"""Settings of the whole suite."""

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tiny tensors: threads only cost, most of all on a busy machine
