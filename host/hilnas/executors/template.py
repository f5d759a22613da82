"""The template of local workers: it has imported what work needs, and forks workers that then have it, too.

Run as `python -m hilnas.executors.template PARENT CONTROL MODULE…`. On CONTROL, a socket of whole messages, the host
asks for a worker by sending the environment that is its own and the worker's end of its line; the answers are JSON:
`ready` once, `forked` (with a pidfd) or `refused` for each worker asked for, and `ended` with its exit code.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import socket
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from hilnas.executors.local_worker import NICENESS, die_with_parent, serve

LARGEST = 1 << 16
"""Of a message, bytes."""
WORKER_NAME = "hilnas-worker"
"""What tools such as ps and top call a worker."""

_PR_SET_NAME = 15


def main() -> int:
    """Import, say so, and fork until the host closes its end: workers die with this process."""
    die_with_parent(int(sys.argv[1]))
    for name in sys.argv[3:]:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 - work that needs it will say so
            traceback.print_exc()
    os.nice(NICENESS)
    gc.collect()
    gc.freeze()  # what is there now stays as it is, in pages that all workers share
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _Template(socket.socket(fileno=int(sys.argv[2]))).run()
    return 0


class _Template:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)

    def run(self) -> None:
        self._tell(ready=True)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._control:
                    self._bury(key.fd, key.data)
                    continue
                message, lines, _, _ = socket.recv_fds(self._control, LARGEST, 1)
                if not message:
                    return
                self._fork(json.loads(message), lines[0])
                os.close(lines[0])

    def _fork(self, environment: dict[str, str], line: int) -> None:
        parent = os.getpid()
        if len(list(Path("/proc/self/task").iterdir())) > 1:
            self._tell(refused="something that it imported has started threads, which no fork takes along")
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            pid = os.fork()
            if pid == 0:
                self._become_worker(parent, environment, line)
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            self._tell(refused=str(error))
            return
        self._selector.register(pidfd, selectors.EVENT_READ, pid)
        socket.send_fds(self._control, [json.dumps({"forked": pid}).encode()], [pidfd])

    def _become_worker(self, parent: int, environment: dict[str, str], line: int) -> NoReturn:
        code = 1
        try:
            die_with_parent(parent)
            os.setsid()
            ctypes.CDLL(None).prctl(_PR_SET_NAME, WORKER_NAME.encode())
            for key in list(self._selector.get_map().values()):
                os.close(key.fd)
            self._selector.close()
            os.environ.update(environment)
            _be_as_fresh()
            serve(socket.socket(fileno=line))
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, this copy of the template must not go on as one
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _bury(self, pidfd: int, pid: int) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self._tell(ended=pid, code=os.waitstatus_to_exitcode(status))

    def _tell(self, **message: object) -> None:
        self._control.send(json.dumps(message).encode())


def _be_as_fresh() -> None:
    """Make of a copy what a fresh interpreter is: with NumPy's own draws (Python and torch see to theirs), and threads."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    threads = int(os.environ["OMP_NUM_THREADS"])
    if threads > 1:
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads, "blas")


if __name__ == "__main__":
    sys.exit(main())
