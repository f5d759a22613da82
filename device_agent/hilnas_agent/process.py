"""A worker process seen from the agent: started, handed one job, watched, ended."""

import contextlib
import math
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Container
from typing import IO

from hilnas_agent.stages import STAGES, TAKEN, WARMING
from hilnas_agent.verdicts import Ended

_LARGEST_ANSWER = 2 << 20
_STDERR_TAIL = 8 << 10
_BLOCK = 1 << 16
_LENGTH = 4
_LONGEST_HOLD_S = 10.0
"""How long a measurement waits for the next worker to be ready."""


class WorkerGoneError(Exception):
    """The worker ended before a job could be handed to it."""


class Worker:
    """One worker process, leader of its own session and process group; takes one job at most.

    OSError when no process can be started. To be made by a thread that outlives it: the kernel
    ends a worker when the thread that started it ends.
    """

    def __init__(self, runtime_path: str) -> None:
        self.runtime_path = runtime_path
        self._result, theirs = os.pipe()
        command = [
            sys.executable,
            "-P",
            "-m",
            "hilnas_agent.worker",
            str(theirs),
            str(os.getpid()),
            runtime_path,
        ]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs,),
                start_new_session=True,
                # One thread suffices for NumPy's statistics, and its pool costs memory and time.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
        except OSError:
            os.close(self._result)
            raise
        finally:
            os.close(theirs)
        self._lock = threading.Lock()
        self._reaped = False

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return self._process.pid

    def alive(self) -> bool:
        """False once it has ended."""
        return self._process.poll() is None

    def run(
        self,
        job: bytes,
        deadline_s: float,
        on_taken: Callable[[], object],
        start_next: "Callable[[], Worker | None]" = lambda: None,
    ) -> Ended:
        """Hands the job over and waits for the answer, the end, or the deadline, sleeping all the while.

        `start_next` is called as the model warms up and may start the next job's worker; sampling
        begins when that one is ready. On an answer `run` returns at once; `close` ends what is left of
        the process.
        """
        stdin, stderr = self._process.stdin, self._process.stderr
        assert stdin is not None and stderr is not None
        try:
            stdin.write(job + b"\n")
            stdin.flush()
        except OSError as error:
            raise WorkerGoneError(self._gone(stderr.fileno())) from error
        answer, words = Answer(), bytearray()
        sources = {self._result, stderr.fileno()}
        poll = select.poll()
        for fd in sources:
            poll.register(fd, select.POLLIN)
        hold, starts_at = _Hold(poll, stdin), time.monotonic()
        while sources:
            # Waiting for the next worker is none of this job's doing, so its deadline moves on.
            ends_at = starts_at + deadline_s + hold.lasted_s()
            patience_s = max(0.0, min(ends_at, hold.ends_at) - time.monotonic())
            ready = {fd for fd, _ in poll.poll(patience_s * 1000)}
            hold.look(ready)
            for fd in sources.intersection(ready):
                block = os.read(fd, _BLOCK)
                if not block:
                    poll.unregister(fd)
                    sources.remove(fd)
                elif fd == self._result:
                    reached = answer.add(block)
                    if TAKEN in reached:
                        on_taken()
                    if WARMING in reached:
                        hold.begin(start_next())
                else:
                    words += block
                    del words[:-_STDERR_TAIL]
            if answer.overflowed:
                self.kill()
                return Ended(overflowed=True, took_job=True, stderr=_text(words))
            if (content := answer.content()) is not None:
                return Ended(content, took_job=True, stderr=_text(words))
            if time.monotonic() >= starts_at + deadline_s + hold.lasted_s():
                self.kill()
                return Ended(timed_out=True, took_job=answer.took_job, stderr=_text(words))
        # Both pipes are shut, so it is on its way out; the signal only reaches one that merely shut them.
        self.kill()
        return Ended(took_job=answer.took_job, returncode=self._reap(), stderr=_text(words))

    def kill(self) -> None:
        """Ends the whole process group; does nothing once the worker has been reaped."""
        with self._lock:
            if not self._reaped:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends it if it still runs, and frees what belongs to it."""
        self.kill()
        self._reap()
        if self._result >= 0:
            os.close(self._result)
            self._result = -1
        for pipe in (self._process.stdin, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _gone(self, stderr_fd: int) -> str:
        self.kill()
        code = self._reap()
        return f"exit {code}: {_text(bytearray(os.read(stderr_fd, _STDERR_TAIL)))}"

    def _reap(self) -> int:
        # Wait without reaping, so that the process id cannot be reused under a concurrent kill.
        if not self._reaped:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._reaped = True
            return self._process.wait()


class _Hold:
    """Keeps a worker warming up until the next one waits (or has failed, or dawdles); then shuts its input."""

    def __init__(self, poll: select.poll, stdin: IO[bytes]) -> None:
        self._poll, self._stdin = poll, stdin
        self._following = -1
        self._began, self._lasted_s = math.nan, 0.0
        self.ends_at = math.inf

    def begin(self, following: Worker | None) -> None:
        """Waits for that worker, or for none."""
        self._began = self.ends_at = time.monotonic()
        if following is None:
            self._end()
        else:
            self.ends_at += _LONGEST_HOLD_S
            self._following = following._result
            self._poll.register(self._following, select.POLLIN)

    def look(self, ready: Container[int]) -> None:
        """Ends it when the other worker has been heard of, or its time is up."""
        if self._following in ready or time.monotonic() >= self.ends_at:
            self._end()

    def lasted_s(self) -> float:
        """How long it has lasted so far."""
        return time.monotonic() - self._began if self.ends_at < math.inf else self._lasted_s

    def _end(self) -> None:
        self._lasted_s = time.monotonic() - self._began
        if self._following >= 0:
            self._poll.unregister(self._following)
        self._following, self.ends_at = -1, math.inf
        self._stdin.close()


class Answer:
    """What a worker has written so far: the stages it reached, the length of its answer, the answer."""

    def __init__(self) -> None:
        self._stages, self._bytes = 0, bytearray()

    def add(self, block: bytes) -> list[bytes]:
        """Takes what was read; the stages reached by it."""
        self._bytes += block
        before = self._stages
        while self._stages < len(STAGES) and self._bytes.startswith(STAGES[self._stages]):
            del self._bytes[0]
            self._stages += 1
        return list(STAGES[before : self._stages])

    @property
    def took_job(self) -> bool:
        """True once the job is in the worker's hands."""
        return self._stages > STAGES.index(TAKEN)

    @property
    def overflowed(self) -> bool:
        """True when there is more than any answer may have."""
        return self._length() > _LARGEST_ANSWER or len(self._bytes) > _LENGTH + _LARGEST_ANSWER

    def content(self) -> bytes | None:
        """The answer once it is complete."""
        end = _LENGTH + self._length()
        return bytes(self._bytes[_LENGTH:end]) if end > _LENGTH and len(self._bytes) >= end else None

    def _length(self) -> int:
        return struct.unpack(">I", self._bytes[:_LENGTH])[0] if len(self._bytes) >= _LENGTH else 0


def _text(words: bytearray) -> str:
    return words.decode("utf-8", "replace")
