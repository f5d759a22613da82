"""Runtimes that go wrong in every way that a model can make one go wrong."""

import ctypes
import os
import signal
import subprocess
import sys
import time

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
        time.sleep(2)


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
    """Starts a process of its own and hangs."""

    def invoke(self):
        child = subprocess.Popen(["sleep", "3600"])
        os.write(2, b"%d\n" % child.pid)
        time.sleep(3600)
