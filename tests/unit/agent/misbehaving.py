"""Runtimes that go wrong in every way that a model can make one go wrong."""

import ctypes
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from hilnas_agent.runtimes import Graph


class _Base:
    name, xnnpack_int8 = "misbehaving", False

    def problem(self):
        return None

    def version(self):
        return "0"

    def preload(self):
        pass

    def load(self, path, threads, delegate=""):
        self.path = path
        return self

    def fill_inputs(self, seed):
        pass

    def run(self, examples):
        return examples

    def graph(self):
        return Graph()

    def arena_kib(self):
        return None


class Segfault(_Base):
    def invoke(self):
        ctypes.string_at(0)


class Abort(_Base):
    def invoke(self):
        os.write(2, b"what a pity\n")
        os.abort()


class Exit(_Base):
    def invoke(self):
        os._exit(3)


class Hang(_Base):
    def invoke(self):
        time.sleep(3600)


class HangHavingShutItsPipes(_Base):
    def invoke(self):
        os.close(int(sys.argv[1]))
        time.sleep(3600)


class SlowImport(_Base):
    def preload(self):
        time.sleep(4)


class DeadImport(_Base):
    def preload(self):
        os._exit(1)


class NoImport(_Base):
    def preload(self):
        raise ImportError("libmissing.so: cannot open shared object file")


class Chatter(_Base):
    """More on standard error than a pipe holds, then an error."""

    def invoke(self):
        for _ in range(300):
            os.write(2, b"x" * 1023 + b"\n")
        raise RuntimeError("enough")


class NoMemoryAtRunTime(_Base):
    def invoke(self):
        raise MemoryError


class KilledByTheKernel(_Base):
    def invoke(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Flood(_Base):
    def invoke(self):
        while True:
            os.write(int(sys.argv[1]), b"\xff" * 65536)


class Child(_Base):
    """Has started a process of its own, and hangs."""

    def preload(self):
        self.child = subprocess.Popen(["sleep", "3600"])

    def invoke(self):
        os.write(2, b"%d\n" % self.child.pid)
        time.sleep(3600)


def _leave_a_grandchild():
    """The old way out of a process group: fork, lead a session, fork, end."""
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)


def _by_number(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _start_a_thread():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


ACTS = {
    "fork": os.fork,
    "fork by another name": lambda: _by_number(435, 0, 0),
    "leave a grandchild": _leave_a_grandchild,
    "run a program": lambda: subprocess.run(["true"], check=True),
    "become a program": lambda: os.execv("/bin/true", ["true"]),
    "lead a session": os.setsid,
    "signal the agent": lambda: os.kill(os.getppid(), 0),
    "signal everybody": lambda: os.kill(-1, 0),
    "limit the agent": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU),
    "open to write": lambda: os.open("/proc/self/comm", os.O_WRONLY),
    "open to read and write": lambda: os.open("/dev/null", os.O_RDWR),
    "make a file": lambda: os.open("made", os.O_CREAT | os.O_RDONLY),
    "remove the model": lambda: Path(os.environ["ACT_MODEL"]).unlink(),
    "rename the model": lambda: Path(os.environ["ACT_MODEL"]).rename(os.environ["ACT_MODEL"] + "2"),
    "empty the model": lambda: os.truncate(os.environ["ACT_MODEL"], 0),
    "open a socket": lambda: socket.socket(socket.AF_UNIX),
    "share memory": lambda: os.memfd_create("m"),
    # What a model may do.
    "start a thread": _start_a_thread,
    "read a file": lambda: Path("/proc/cpuinfo").read_text(),
    "signal itself": lambda: os.kill(os.getpid(), 0),
    "limit itself": lambda: resource.prlimit(0, resource.RLIMIT_CPU),
}


class Acts(_Base):
    """Does what ACT names, and says whether it could."""

    def invoke(self):
        try:
            ACTS[os.environ["ACT"]]()
        except OSError as error:
            raise RuntimeError(f"refused: {errno.errorcode[error.errno]}") from error
        raise RuntimeError("done")


class Greedy(_Base):
    """Needs 200 MiB to load and nothing to run."""

    def load(self, path, threads, delegate=""):
        taken = b"\1" * (200 << 20)
        del taken
        return self

    def invoke(self):
        time.sleep(0.0002)
