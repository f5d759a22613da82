"""The host's side of tries on a Ray cluster: what they say is heard in order, and those on this machine can be held."""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from hilnas.executors.checkpoint import Checkpoint
from hilnas.executors.inside import Told
from hilnas.executors.ray_task import BEGUN, PROGRESS, SAVED, SETTLED, this_process

_log = logging.getLogger(__name__)

_AGAIN_S = 1.0


async def result_of(reference: Any) -> Any:
    """Await what a reference of Ray's, or of its client's, comes to.

    Whoever waits no more leaves Ray's own future as it is: its client fails on one that was cancelled.
    """
    loop = asyncio.get_running_loop()
    awaited: asyncio.Future[Any] = loop.create_future()

    def settle(done: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(_pass_on, done, awaited)

    reference.future().add_done_callback(settle)
    return await awaited


def _pass_on(done: Future[Any], awaited: asyncio.Future[Any]) -> None:
    if awaited.done():
        return
    if done.cancelled():
        awaited.cancel()
    elif (error := done.exception()) is not None:
        awaited.set_exception(error)
    else:
        awaited.set_result(done.result())


class Attempt:
    """One try of a piece of work."""

    def __init__(self, name: str, told: Told | None, checkpoint: Checkpoint | None) -> None:
        self.name = name
        self.where: Mapping[str, Any] = {}
        """What `this_process` says there; empty until it has begun."""
        self.waits = False
        """Has it begun while all work here was to be held?"""
        self.settled = asyncio.Event()
        """Has all that it said been heard?"""
        self._told = told
        self._checkpoint = checkpoint

    async def hear(self, kind: str, value: Any) -> None:
        """Take a message."""
        if kind == BEGUN:
            self.where = value
        elif kind == PROGRESS and self._told is not None:
            self._told(value)
        elif kind == SAVED and self._checkpoint is not None:
            await asyncio.to_thread(self._checkpoint.save, value)
        elif kind == SETTLED:
            self.settled.set()

    @property
    def is_here(self) -> bool:
        """Is it on this machine, as a process that this one sees?"""
        return bool(self.where) and self.where["machine"] == this_process()["machine"]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process, if it is on this machine and belongs to this user."""
        if self.is_here:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.where["pid"], number)


class Attempts:
    """All tries under way, and the mailbox that they write to."""

    def __init__(self, mailbox: Any, refused: type[Exception]) -> None:
        self.mailbox = mailbox
        self._refused = refused
        self._known: dict[str, Attempt] = {}
        self._going = True
        self._listening = asyncio.create_task(self._listen(), name="Ray's mailbox")

    def add(self, attempt: Attempt) -> None:
        """Begin to hear a try."""
        self._known[attempt.name] = attempt

    async def settle(self, attempt: Attempt) -> None:
        """Wait until all is heard that a try has said to its end."""
        await result_of(self.mailbox.post.remote(attempt.name, SETTLED, None))
        await attempt.settled.wait()

    def drop(self, attempt: Attempt) -> None:
        """A try is over."""
        if self._known.pop(attempt.name, None) is not None:
            self.mailbox.forget.remote(attempt.name)

    def places(self) -> list[str]:
        """Return the addresses of the nodes where tries have begun."""
        return [attempt.where["address"] for attempt in self._known.values() if attempt.where]

    def hold(self) -> None:
        """Stop what runs on this machine, and let nothing begin there."""
        self._going = False
        for attempt in self._known.values():
            attempt.signal(signal.SIGSTOP)

    def release(self) -> None:
        """Let it all go on."""
        self._going = True
        for attempt in self._known.values():
            attempt.signal(signal.SIGCONT)
            if attempt.waits:
                attempt.waits = False
                self.mailbox.go.remote(attempt.name)

    def close(self) -> None:
        """Hear no more."""
        self._listening.cancel()
        for attempt in self._known.values():
            attempt.settled.set()
        self._known.clear()

    async def _listen(self) -> None:
        while True:
            try:
                messages = await result_of(self.mailbox.take.remote())
            except self._refused as error:
                _log.warning("Ray's mailbox cannot be read: %s", error)
                await asyncio.sleep(_AGAIN_S)
                continue
            for name, kind, value in messages:
                attempt = self._known.get(name)
                if attempt is None:
                    continue  # of a try that was given up
                await attempt.hear(kind, value)
                if kind == BEGUN:
                    attempt.waits = attempt.is_here and not self._going
                    if not attempt.waits:
                        self.mailbox.go.remote(name)
