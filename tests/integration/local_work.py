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


def take(gib, marker, seconds=0.0):
    """Note the beginning, take so much memory a bit at a time, and hold it for a while."""
    with Path(marker).open("a") as file:
        file.write("begun\n")
    taken = []
    for _ in range(int(gib * 64)):
        taken.append(os.urandom(1 << 14) * (1 << 10))  # 16 MiB
        time.sleep(0.02)
    time.sleep(seconds)
    return sum(map(len, taken)) / 2**30


def read(path):
    """Read a file that may not be here."""
    return Path(path).read_bytes()


def lack_data(path):
    """Fail as tasks do."""
    from hilnas.tasks import TaskError

    raise TaskError(f"{path} is no archive")


def rise(log, top, seconds):
    """Take so long over each step, save each, and note the step that it starts from and the process."""
    from hilnas.executors import report, save, saved

    step = int(saved() or b"0")
    with Path(log).open("a") as file:
        file.write(f"{step} {os.getpid()}\n")
    while step < top:
        time.sleep(seconds)
        step += 1
        save(str(step).encode())
        report(step / top)
    return step
