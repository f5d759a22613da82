"""Reads a meter in a process of its own: `python -m hilnas_agent.meters.recorder JOB`.

JOB is one line of JSON: path, argument and name of the meter, the processors to keep to, the parent's
process id. The recorder says on standard output what the meter is, or why it cannot be read (a line of JSON). Then
it reads, at the meter's rate, and keeps what it reads. For each byte on standard input it answers with a
line of JSON (how many readings have come since the last time, what went wrong meanwhile) and the readings,
24 bytes each. The end of its input, or of its parent, ends it.
"""

import json
import os
import select
import struct
import sys
import time
from collections import deque
from pathlib import Path

from hilnas_agent import limits, meters
from hilnas_agent.meters import Meter, MeterError, Reading

FORM = struct.Struct("<qdq")
"""A Reading on the pipe."""
_MOST_KEPT = 1 << 20
_DEFAULT_RATE_HZ = 10.0
_IN, _OUT = 0, 1


def main(argv: list[str]) -> int:
    """Records until nobody listens any more."""
    job = json.loads(argv[0])
    if not limits.die_with_parent(job["parent_pid"]):
        return 1
    if job["cpus"]:
        os.sched_setaffinity(0, job["cpus"])
    # The pipe is for readings alone: what a library prints would spoil it.
    pipe = os.dup(_OUT)
    os.dup2(2, _OUT)
    try:
        meter = meters.find(job["path"], job["argument"], job["name"], Path(job["root"]))
        meter.open()
    except Exception as error:  # noqa: BLE001 - whatever a driver or its library does
        _write(pipe, _line({"problem": _words(error)}))
        return 1
    try:
        _write(pipe, _line({"traits": meter.traits._asdict()}))
        _record(meter, pipe)
    finally:
        meter.close()
    return 0


def _record(meter: Meter, pipe: int) -> None:
    """Reads and answers in turns; a reading that is late is not made up for."""
    kept: deque[Reading] = deque(maxlen=_MOST_KEPT)
    problem, apart_s = "", 1 / (meter.traits.rate_hz or _DEFAULT_RATE_HZ)
    due = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= due:
            try:
                kept.extend(meter.read())
            except Exception as error:  # noqa: BLE001 - a failed reading is a gap, and told
                problem = _words(error)
            due = max(due + apart_s, time.monotonic() - apart_s)
        if select.select([_IN], [], [], max(0.0, due - time.monotonic()))[0]:
            if not os.read(_IN, 1):
                return
            head = _line({"count": len(kept), "problem": problem})
            _write(pipe, head + b"".join(FORM.pack(*reading) for reading in kept))
            kept.clear()
            problem = ""


def _line(content: dict[str, object]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, MeterError) else f"{type(error).__name__}: {error}"


def _write(pipe: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(pipe, view) :]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        os._exit(0)
