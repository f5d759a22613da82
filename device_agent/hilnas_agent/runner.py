"""The thread that takes jobs one at a time, and keeps a worker waiting for the next."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable

from hilnas_agent import jobs
from hilnas_agent.jobs import Bench, Hands, Measuring, Ticket
from hilnas_agent.process import Worker
from hilnas_protos.v1 import measurement_pb2 as wire

_log = logging.getLogger(__name__)

MOST_WAITING = 4
_BACK_TO_BACK_S = 1.0
"""A job that comes so soon after the last result is one of a stream, and its successor will be, too."""
_JOIN_S = 2.0


class Runner:
    """Runs jobs in the order they arrive; at most MOST_WAITING wait.

    `deliver` gets each result, `started` each job whose worker has taken it; both are called on
    the runner's thread and must not block. `make_worker` makes what measures with a runtime, by its path.
    """

    def __init__(
        self,
        bench: Bench,
        deliver: Callable[[wire.MeasureResult], object],
        started: Callable[[wire.MeasureJob], object],
        make_worker: Callable[[str], Measuring] = Worker,
    ) -> None:
        self._bench, self._deliver, self._started = bench, deliver, started
        self._make_worker = make_worker
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._current: Ticket | None = None
        self._stopping = False
        self._delivered = -math.inf
        self._spare: Measuring | None = None
        self._spare_path = bench.offers[0].path if bench.offers else ""
        # Workers end with this thread (see `die_with_parent`), so it lives as long as the agent.
        self._thread = threading.Thread(target=self._loop, name="runner", daemon=True)

    def start(self) -> None:
        """Starts the thread, and with it the first waiting worker."""
        self._thread.start()

    def submit(self, job: wire.MeasureJob) -> None:
        """Queues a job; one already here is left as it is, one too many is refused by a result."""
        ticket = Ticket(job)
        with self._changed:
            if any(known.key == ticket.key for known in self._tickets()):
                return
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(ticket)
                self._changed.notify()
                return
        self._deliver(_fault(job, f"the agent is busy: {MOST_WAITING} jobs are waiting already"))

    def cancel(self, job_id: str) -> None:
        """Drops a waiting job, or ends the worker of the running one; no result follows."""
        with self._changed:
            doomed = [ticket for ticket in self._tickets() if ticket.job.job_id == job_id]
            self._waiting = deque(ticket for ticket in self._waiting if ticket not in doomed)
        for ticket in doomed:
            _log.info("job %s cancelled", job_id)
            ticket.cancel()

    def leases(self) -> list[tuple[str, int, int]]:
        """Id, attempt and fencing token of the jobs that are here, the running one first."""
        with self._changed:
            return [ticket.key for ticket in self._tickets()]

    def running(self) -> str:
        """Id of the running job, empty when there is none."""
        current = self._current
        return current.job.job_id if current else ""

    def stop(self) -> None:
        """Drops all jobs, ends the workers and the thread."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            current = self._current
            self._changed.notify()
        if current is not None:
            current.cancel()
        self._thread.join(_JOIN_S)

    def _tickets(self) -> list[Ticket]:
        return [*([self._current] if self._current else []), *self._waiting]

    def _loop(self) -> None:
        try:
            while True:
                # Here nothing is being measured, so starting a process disturbs nothing.
                self._prepare_spare()
                ticket = self._next()
                if ticket is None:
                    return
                self._run(ticket)
        finally:
            if self._spare is not None:
                self._spare.close()

    def _next(self) -> Ticket | None:
        with self._changed:
            self._current = None
            while not self._waiting and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return None
            self._current = self._waiting.popleft()
            return self._current

    def _run(self, ticket: Ticket) -> None:
        job = ticket.job
        what = {"evaluation": "outputs", "energy": "energy"}.get(job.WhichOneof("pass") or "", "latency")
        _log.info("job %s attempt %d: %s of model %s", job.job_id, job.attempt, what, job.model.sha256[:12])
        worker = None
        try:
            hands = Hands(self._take, lambda: self._start_next(ticket), lambda: self._started(job))
            result, worker = jobs.run(ticket, self._bench, hands)
            # The job is over before its result leaves: the answer may bring the same job again.
            with self._changed:
                self._current = None
            if result is not None:
                self._deliver(result)
                self._delivered = time.perf_counter()
                _log.info("job %s: %s %s", job.job_id, wire.Verdict.Name(result.verdict)[8:], result.message)
        except Exception as error:  # noqa: BLE001
            # An error of the agent's own must cost one job, not the thread that all others need.
            _log.exception("job %s failed inside the agent", job.job_id)
            with self._changed:
                self._current = None
            self._deliver(_fault(job, f"error inside the agent: {type(error).__name__}: {error}"))
        finally:
            if worker is not None:
                worker.close()

    def _take(self, runtime_path: str) -> Measuring:
        """The waiting worker if it is alive and of that runtime, or a new one."""
        spare, self._spare, self._spare_path = self._spare, None, runtime_path
        if spare is not None:
            if spare.runtime_path == runtime_path and spare.alive():
                return spare
            spare.close()
        return self._make_worker(runtime_path)

    def _start_next(self, ticket: Ticket) -> Measuring | None:
        """The next job's worker, started beside a job's warm-up where jobs come back to back.

        Elsewhere it starts after the result, when nothing waits for it.
        """
        if self._waiting or ticket.arrived - self._delivered < _BACK_TO_BACK_S:
            return self._prepare_spare()
        return None

    def _prepare_spare(self) -> Measuring | None:
        if self._spare is not None and self._spare.alive():
            return self._spare
        if self._spare is not None:
            self._spare.close()
            self._spare = None
        if not self._spare_path:
            return None
        try:
            self._spare = self._make_worker(self._spare_path)
        except OSError as error:
            _log.warning("no worker process could be started ahead of time: %s", error)
        return self._spare


def _fault(job: wire.MeasureJob, message: str) -> wire.MeasureResult:
    return wire.MeasureResult(
        job_id=job.job_id,
        attempt=job.attempt,
        fence=job.fence,
        model_sha256=job.model.sha256,
        protocol_hash=job.protocol_hash,
        verdict=wire.VERDICT_DEVICE_FAULT,
        message=message,
    )
