"""A recorder process seen from the one that wants its readings: started, asked, ended."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from hilnas_agent.meters import MeterError, Reading, Traits
from hilnas_agent.meters.recorder import FORM

_START_S = 20.0
"""A bench instrument's library may take seconds to find it."""
_ANSWER_S = 10.0
_BLOCK = 1 << 16


class Recording:
    """Readings of one meter, taken by a process of its own from now on; MeterError when that cannot be.

    To be made by a thread that outlives it, and before this process gives up the right to start others. Not in a
    process group of its own: whoever ends this process's group ends the recorder with it.
    """

    def __init__(
        self, path: str, argument: str, name: str, cpus: Sequence[int] = (), root: str = "/"
    ) -> None:
        self.name = name
        self._rest = b""
        job: dict[str, Any] = {"path": path, "argument": argument, "name": name, "root": root}
        job |= {"cpus": list(cpus), "parent_pid": os.getpid()}
        command = [sys.executable, "-P", "-m", "hilnas_agent.meters.recorder", json.dumps(job)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise MeterError(f"no process can be started to read {name}: {error}") from error
        try:
            self.traits = self._hello()
        except BaseException:
            self.close()
            raise

    def take(self) -> tuple[list[Reading], str]:
        """The readings since the last call, oldest first, and what went wrong; MeterError when it is gone."""
        ends_at = time.monotonic() + _ANSWER_S
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), b"t")
        except OSError as error:
            raise MeterError(f"the process that read {self.name} has ended: {error.strerror}") from error
        head = self._line(ends_at)
        length = head["count"] * FORM.size
        while len(self._rest) < length:
            self._more(ends_at)
        content, self._rest = self._rest[:length], self._rest[length:]
        return [Reading(*fields) for fields in FORM.iter_unpack(content)], head["problem"]

    def close(self) -> None:
        """Shuts the pipes, which ends the recorder."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        # One that hangs in its instrument is ended with this process's group, or with this process.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)

    def _hello(self) -> Traits:
        hello = self._line(time.monotonic() + _START_S)
        if "problem" in hello:
            raise MeterError(hello["problem"])
        return Traits(**hello["traits"])

    def _line(self, ends_at: float) -> dict[str, Any]:
        while b"\n" not in self._rest:
            self._more(ends_at)
        line, _, self._rest = self._rest.partition(b"\n")
        content: dict[str, Any] = json.loads(line)
        return content

    def _more(self, ends_at: float) -> None:
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        if not select.select([source], [], [], max(0.0, ends_at - time.monotonic()))[0]:
            raise MeterError(f"the meter {self.name} does not answer: look at its cable, or restart it")
        block = os.read(source, _BLOCK)
        if not block:
            raise MeterError(f"the process that read {self.name} has ended: look at its cable")
        self._rest += block
