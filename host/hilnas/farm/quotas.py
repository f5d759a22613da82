"""What a device may send, and how much it may ask for at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from google.protobuf.message import Message

from hilnas_protos.v1 import agent_pb2

MESSAGES_PER_S = 100
"""Messages of one stream, on average; ten times what a busy agent sends."""
MESSAGES_AT_ONCE = 500
"""Messages of one stream in a burst."""
MAX_FETCHES = 4
"""Transfers that one device has at once."""
MAX_NAME = 200
"""Longest name of a device or class."""
_MAX_TEXT = 1000
_MAX_LIST = 200


class FetchQuota:
    """Counts the transfers of each device."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def one(self, name: str) -> Iterator[bool]:
        """Give False when the device has as many as it may have."""
        if self._open[name] >= MAX_FETCHES:
            yield False
            return
        self._open[name] += 1
        try:
            yield True
        finally:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]


def too_much(hello: agent_pb2.Hello) -> str:
    """Say what of a Hello is longer than it may be, or cannot be shown, and the remedy; empty when nothing is."""
    for flag, text in (("--name", hello.device_name), ("--device-class", hello.device_class)):
        if not 0 < len(text) <= MAX_NAME:
            return (
                f"device name and class must have 1 to {MAX_NAME} characters: set --name and --device-class"
            )
        if not text.isprintable():
            return f"{text!r} holds characters that cannot be shown: set {flag}"
    if where := _long_field(hello):
        return (
            f"{where} of the agent's Hello has more than {_MAX_TEXT} characters or {_MAX_LIST} entries: "
            "install the host's version of hilnas on the device"
        )
    return ""


def _long_field(message: Message) -> str:
    """Return the first field, at any depth, that is too long."""
    for field, value in message.ListFields():
        values = list(value) if field.is_repeated else [value]
        if len(values) > _MAX_LIST:
            return str(field.name)
        for one in values:
            if isinstance(one, Message):
                if inner := _long_field(one):
                    return f"{field.name}.{inner}"
            elif isinstance(one, str | bytes) and len(one) > _MAX_TEXT:
                return str(field.name)
    return ""
