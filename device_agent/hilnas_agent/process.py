"""A worker process seen from the agent: started, handed one job, watched, ended."""

import contextlib
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from hilnas_agent.verdicts import Ended

_LARGEST_ANSWER = 2 << 20
_STDERR_TAIL = 8 << 10
_BLOCK = 1 << 16
_HEAD = 1 + 4
"""The byte that says the job is taken, and the length of the answer."""


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

    def run(self, job: bytes, deadline_s: float, on_taken: Callable[[], object]) -> Ended:
        """Hands the job over and waits for the answer, the end, or the deadline, sleeping all the while.

        On an answer it returns at once; `close` ends what is left of the process.
        """
        stdin, stderr = self._process.stdin, self._process.stderr
        assert stdin is not None and stderr is not None
        try:
            stdin.write(job)
            stdin.close()
        except OSError as error:
            raise WorkerGoneError(self._gone(stderr.fileno())) from error
        answer, words = bytearray(), bytearray()
        taken = False
        ends_at = time.monotonic() + deadline_s
        poll = select.poll()
        for fd in (self._result, stderr.fileno()):
            poll.register(fd, select.POLLIN)
        open_fds = 2
        while open_fds:
            ready = poll.poll(max(0.0, ends_at - time.monotonic()) * 1000)
            if not ready:
                self.kill()
                return Ended(timed_out=True, took_job=taken, stderr=_text(words))
            for fd, _ in ready:
                block = os.read(fd, _BLOCK)
                if not block:
                    poll.unregister(fd)
                    open_fds -= 1
                elif fd == self._result:
                    answer += block
                else:
                    words += block
                    del words[:-_STDERR_TAIL]
            if answer and not taken:
                taken = True
                on_taken()
            length = struct.unpack(">I", answer[1:_HEAD])[0] if len(answer) >= _HEAD else 0
            if length > _LARGEST_ANSWER or len(answer) > _HEAD + _LARGEST_ANSWER:
                self.kill()
                return Ended(overflowed=True, took_job=True, stderr=_text(words))
            if length and len(answer) >= _HEAD + length:
                return Ended(bytes(answer[_HEAD : _HEAD + length]), took_job=True, stderr=_text(words))
        # Both pipes are shut, so it is on its way out; the signal only reaches one that merely shut them.
        self.kill()
        return Ended(took_job=taken, returncode=self._reap(), stderr=_text(words))

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


def _text(words: bytearray) -> str:
    return words.decode("utf-8", "replace")
