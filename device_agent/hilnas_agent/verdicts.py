"""Why a measurement failed: from an error inside the worker, or from the way the worker ended.

Verdicts are named as on the wire, without their prefix, so that the worker needs no protobuf.
"""

import signal
from dataclasses import dataclass

_UNKNOWN_OP = (
    "Didn't find op",
    "unresolved custom op",
    "Op builtin_code out of range",
    "Regular TensorFlow ops are not supported",
)
_NO_MEMORY = ("bad_alloc", "Failed to allocate", "failed to allocate", "Cannot allocate memory", "Mmap of")
_TAIL_LINES = 4


@dataclass(frozen=True)
class Ended:
    """How a worker ended. `payload` is its whole answer, if it gave one."""

    payload: bytes | None = None
    took_job: bool = False
    timed_out: bool = False
    overflowed: bool = False
    returncode: int = 0
    stderr: str = ""


def of_error(error: Exception, loading: bool) -> tuple[str, str]:
    """Verdict and message for what a runtime raised, `loading` a model or running it."""
    text = " ".join(str(error).split())
    if any(words in text for words in _UNKNOWN_OP):
        return "UNSUPPORTED_OP", text
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        return "OUT_OF_MEMORY", f"the model needs more memory than its worker may use ({text or 'no detail'})"
    if loading and isinstance(error, RuntimeError) and not text:
        # ai-edge-litert says nothing at all when the arena of the tensors cannot be had.
        return "OUT_OF_MEMORY", "the model's tensors need more memory than its worker may use"
    if loading and isinstance(error, ValueError):
        return "INVALID_MODEL", text
    return "CRASHED", f"{type(error).__name__}: {text}"


def of_end(ended: Ended, deadline_ms: int) -> tuple[str, str]:
    """Verdict and message for a worker that ended without an answer."""
    last = _last_words(ended.stderr)
    if ended.timed_out:
        return "TIMEOUT", f"no result within {deadline_ms} ms (measurement.deadline_s of the recipe)"
    if ended.overflowed:
        return "CRASHED", "the worker's answer is larger than an answer may be"
    if not ended.took_job:
        return "DEVICE_FAULT", f"the worker ended before it took the job (exit {ended.returncode}){last}"
    if ended.returncode >= 0:
        return "CRASHED", f"the worker ended without a result (exit {ended.returncode}){last}"
    return _of_signal(-ended.returncode, ended.stderr, deadline_ms)


def _of_signal(number: int, stderr: str, deadline_ms: int) -> tuple[str, str]:
    name, last = _signal_name(number), _last_words(stderr)
    if number == signal.SIGKILL:
        return "OUT_OF_MEMORY", f"{name} that the agent did not send: the kernel ran out of memory{last}"
    if number == signal.SIGXCPU:
        return "TIMEOUT", f"{name}: more processor time than a deadline of {deadline_ms} ms allows"
    if any(words in stderr for words in _NO_MEMORY):
        return "OUT_OF_MEMORY", f"{name} after an allocation failed{last}"
    return "CRASHED", f"the model's worker died of {name}{last}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_words(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("INFO:")]
    return ": " + " | ".join(lines[-_TAIL_LINES:]) if lines else ""
