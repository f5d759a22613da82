"""Work for the local workers of tests, in a module that they can import."""

import os
import random
import time
from pathlib import Path

import numpy as np


def about():
    """What this process is."""
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "nice": os.nice(0),
        "threads": os.environ["OMP_NUM_THREADS"],
        "token": os.environ.get("HILNAS_TOKEN"),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "name": Path("/proc/self/comm").read_text().strip(),
    }


def draws(seconds):
    """What this process draws that nobody has seeded."""
    time.sleep(seconds)
    return random.random(), float(np.random.random())


def count_up(path):
    """Add to a file, for a long time."""
    for _ in range(1000):
        with Path(path).open("a") as file:
            file.write(".")
        time.sleep(0.02)


def talk(words):
    """Print as libraries do."""
    print(words)


def refuse():
    """Fail as the exporter does."""
    from hilnas.export import UnsupportedModuleError

    raise UnsupportedModuleError("GELU", "layers.3", "use nn.Hardswish")
