"""What goes up to the host: results are kept until they have arrived, notes are not."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hilnas_protos.v1 import agent_pb2, measurement_pb2

_log = logging.getLogger(__name__)

_MOST_KEPT = 64
_IN_DOUBT_S = 30.0
"""Longer than keepalive takes to notice a dead link: what was sent earlier on a living one has arrived."""


@dataclass
class _Entry:
    result: measurement_pb2.MeasureResult
    sent_at: float | None = None


class Outbox:
    """Messages of this agent, over all its streams.

    The wire has no receipt for results. One that was sent shortly before its stream broke may be
    lost, so it is sent again: the host sees a result at least once, and knows a repeated one by
    its job, attempt and fencing token.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._unsent: deque[_Entry] = deque()
        self._sent: deque[_Entry] = deque()
        self._notes: deque[agent_pb2.ConnectRequest] = deque()
        self._stream = 0
        self._open = False
        self._ending = False
        self._nudged = False

    def put(self, result: measurement_pb2.MeasureResult) -> None:
        """Queues a result; beyond 64 undelivered ones the oldest is lost."""
        with self._changed:
            if len(self._unsent) >= _MOST_KEPT:
                _log.warning(
                    "job %s: result dropped, too many wait for the host", self._unsent[0].result.job_id
                )
                self._unsent.popleft()
            self._unsent.append(_Entry(result))
            self._changed.notify_all()

    def note(self, message: agent_pb2.ConnectRequest) -> None:
        """Queues a message that is of no use on a later stream; dropped when none is open."""
        with self._changed:
            if self._open:
                self._notes.append(message)
                self._changed.notify_all()

    def undelivered(self) -> list[tuple[str, int, int]]:
        """Id, attempt and fencing token of jobs whose results the host may not have."""
        with self._changed:
            results = [entry.result for entry in self._unsent]
            return [(result.job_id, result.attempt, result.fence) for result in results]

    def new_stream(self) -> int:
        """Number of a new stream; nothing is given out until `welcome`."""
        with self._changed:
            self._stream += 1
            self._open = self._ending = False
            return self._stream

    def welcome(self) -> None:
        """The host has answered on the present stream: messages may go."""
        with self._changed:
            self._open = self._nudged = True
            self._changed.notify_all()

    def finish(self) -> None:
        """Lets the present stream end once its messages are out."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    def broken(self) -> None:
        """The present stream is over: what may not have arrived goes back to the front."""
        with self._changed:
            self._stream += 1
            self._open = False
            self._notes.clear()
            since = self._clock() - _IN_DOUBT_S
            doubtful = [entry for entry in self._sent if (entry.sent_at or 0) >= since]
            self._sent.clear()
            self._unsent.extendleft(reversed(doubtful))
            self._changed.notify_all()

    def take(self, stream: int, timeout_s: float) -> agent_pb2.ConnectRequest | None:
        """The next message for that stream; None after the timeout or a welcome; EOFError when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready(stream), max(0.0, timeout_s))
            self._nudged = False
            if stream != self._stream:
                raise EOFError
            if self._open and self._notes:
                return self._notes.popleft()
            if self._open and self._unsent:
                entry = self._unsent.popleft()
                entry.sent_at = self._clock()
                self._sent.append(entry)
                while (self._sent[0].sent_at or 0) < self._clock() - _IN_DOUBT_S:
                    self._sent.popleft()
                return agent_pb2.ConnectRequest(measure_result=entry.result)
            if self._ending:
                raise EOFError
            return None

    def _ready(self, stream: int) -> bool:
        waiting = self._open and bool(self._notes or self._unsent)
        return waiting or self._nudged or self._ending or stream != self._stream
