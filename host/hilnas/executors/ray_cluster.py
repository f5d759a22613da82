"""`ray`: work runs on a Ray cluster that is there already; the loss of a node costs the work at hand there."""

import asyncio
import logging
import math
import pickle
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from hilnas.executors.base import OutOfMemoryError, WorkerDiedError
from hilnas.executors.checkpoint import Checkpoint
from hilnas.executors.inside import Told
from hilnas.executors.places import Places
from hilnas.executors.ray_attempt import Attempt, Attempts, result_of
from hilnas.executors.ray_connection import RayError, check_nodes, connect
from hilnas.executors.ray_store import Arguments
from hilnas.executors.ray_task import RAISED, Mailbox, run_work, same_software
from hilnas.options import Options

T = TypeVar("T")

_log = logging.getLogger(__name__)

_GIB = 1 << 30
_MOST_AT_ONCE = 4096
_MOST_LOSSES = 20
"""Nodes that may be lost under one piece of work before it is given up."""
_LOOK_S = 2.0
_END_S = 10.0
_LEAST = 0.0001
"""The smallest share of a resource that Ray knows."""


class RayOptions(Options):
    """Settings of `ray`."""

    address: str = "auto"
    """"auto" for the cluster that this machine is a node of, host:port of such a cluster's head, or
    ray://host:port of any."""
    cpus: float = Field(1, gt=0)
    """Processors for each function, as Ray counts them; its threads, too."""
    gpus: float = Field(0, ge=0)
    """GPUs for each function; below 1, several share one."""
    memory: float = Field(0, ge=0)
    """GiB that Ray sets aside for each function; 0 for none."""
    retries: int = Field(2, ge=0)
    """How often work is tried again whose worker died. Lost nodes don't count."""
    slots: int = Field(0, ge=0, le=_MOST_AT_ONCE)
    """Functions at once; 0 for as many as the cluster has room for."""


class _NodeLostError(Exception):
    """The node is to blame, not the work."""


class RayCluster:
    """Runs each function as a task of Ray's, tried again here: where it ran counts for what that costs."""

    Options = RayOptions

    def __init__(self, options: RayOptions, log_folder: Path) -> None:
        """Join the cluster, from within an event loop. RayError when it, or a node of it, cannot be used."""
        self.options = options
        self.log = log_folder / "workers.log"
        self._ray = connect(options.address)
        try:
            check_nodes(self._ray)
            self._room = self._find_room()
            self._check_room()
        except BaseException:
            self._ray.shutdown()
            raise
        self._arguments = Arguments(self._ray)
        self._task = self._ray.remote(run_work).options(
            num_cpus=options.cpus,
            num_gpus=options.gpus,
            memory=int(options.memory * _GIB) or None,
            max_retries=0,
            scheduling_strategy="SPREAD",
        )
        self._attempts = Attempts(self._start_mailbox(), self._ray.exceptions.RayError)
        self._places = Places(range(_MOST_AT_ONCE), lambda: self._places.busy < self.slots)
        self._under_way: set[asyncio.Future[Any]] = set()
        self._closed = False
        self._looking = asyncio.create_task(self._follow(), name="nodes of Ray")

    @property
    def slots(self) -> int:
        """Functions at once; follows the nodes that come and go."""
        return self.options.slots or max(1, self._room)

    @property
    def puts(self) -> int:
        """How often an argument was put into the object store."""
        return self._arguments.puts

    def places_of_work(self) -> list[str]:
        """Return the nodes' addresses where work is under way, one for each piece."""
        return self._attempts.places()

    def threads(self, at_once: int) -> int:
        """Threads of each function."""
        return max(1, int(self.options.cpus))

    async def run(
        self,
        function: Callable[..., T],
        *arguments: Any,
        urgent: bool = False,
        told: Told | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> T:
        """Run on a node with room; see `Executor.run`."""
        call = pickle.dumps(function)
        died = lost = 0
        while True:
            place = await self._places.take(urgent)
            try:
                if self._closed:
                    raise asyncio.CancelledError("the executor is closed")
                attempt = Attempt(uuid.uuid4().hex, told, checkpoint)
                return await self._try(attempt, checkpoint, call, arguments)  # type: ignore[no-any-return]
            except _NodeLostError as error:
                lost += 1
                _log.warning("work on a Ray node was lost and begins again elsewhere: %s", error)
                if lost > _MOST_LOSSES:
                    raise WorkerDiedError(f"{error}; {lost} nodes were lost under it") from error
            except WorkerDiedError as error:
                died += 1
                if died > self.options.retries:
                    raise type(error)(f"{error}; {died} tries") from error
            finally:
                self._places.give_back(place)

    def pause(self) -> None:
        """Stop work on this machine where it is, if its processes belong to this user; no new work begins here."""
        self._attempts.hold()

    def resume(self) -> None:
        """Let it go on."""
        self._attempts.release()

    async def close(self) -> None:
        """End all work, and leave the cluster."""
        self._closed = True
        self._looking.cancel()
        for future in self._under_way:
            future.cancel()
        self._attempts.release()
        self._attempts.close()
        try:
            await asyncio.to_thread(self._ray.kill, self._attempts.mailbox)
        except self._ray.exceptions.RayError as error:
            _log.debug("Ray's mailbox was gone already: %s", error)
        finally:
            await asyncio.to_thread(self._ray.shutdown)

    async def _try(
        self, attempt: Attempt, checkpoint: Checkpoint | None, call: bytes, arguments: Sequence[Any]
    ) -> Any:
        errors = self._ray.exceptions
        kept = None if checkpoint is None else await asyncio.to_thread(checkpoint.load)
        order, large = await asyncio.to_thread(self._arguments.prepare, arguments)
        self._attempts.add(attempt)
        reference = self._task.remote(
            self._attempts.mailbox, attempt.name, same_software(), self.threads(1), kept, call, order, *large
        )
        result = asyncio.ensure_future(result_of(reference))
        self._under_way.add(result)
        result.add_done_callback(self._under_way.discard)
        try:
            how, content, trace = await result
            await self._attempts.settle(attempt)
        except asyncio.CancelledError:
            if not self._closed:  # leaving the cluster ends it, too
                await self._cancel(attempt, reference)
            raise
        except errors.OutOfMemoryError as error:
            raise OutOfMemoryError(f"a Ray node ran out of memory: {error}") from error
        except errors.WorkerCrashedError:
            await self._attempts.settle(attempt)  # what it saved last is what the next try goes on from
            node = attempt.where.get("node", "unknown")
            raise WorkerDiedError(f"a worker process on Ray node {node} was ended (out of memory?)") from None
        except errors.RayTaskError as error:
            if isinstance(error.cause, errors.RayError):
                raise _NodeLostError(f"it could not reach this host: {error.cause}") from error
            raise WorkerDiedError(f"a Ray node cannot run hilnas: {error}") from error
        except errors.RayError as error:
            self._arguments.forget()
            raise _NodeLostError(str(error).partition("\n")[0]) from error
        finally:
            self._attempts.drop(attempt)
        value = pickle.loads(content)  # nosec B301 # noqa: S301 - from a node that runs our code
        if how == RAISED:
            self._note(trace)
            raise value
        return value

    async def _cancel(self, attempt: Attempt, reference: Any) -> None:
        """End a try, and wait until it has ended."""
        import signal

        attempt.signal(signal.SIGCONT)
        self._ray.cancel(reference, force=True)
        ended = asyncio.ensure_future(result_of(reference))
        await asyncio.wait([ended], timeout=_END_S)
        ended.add_done_callback(lambda future: future.cancelled() or future.exception())

    def _note(self, trace: str) -> None:
        try:
            with self.log.open("a") as log:
                log.write(f"{trace}\n")
        except OSError as error:
            _log.error("what went wrong on a node is not in the log (%s): %s", error, trace)

    def _start_mailbox(self) -> Any:
        """Start the mailbox on the node that this host is connected to: it has the last of what others have said.

        It asks for a share of the resource that only this node has. A wish for a node (`NodeAffinity`) is lost on a
        node that has not heard of that one yet, and the mailbox would then be lost with any other.
        """
        here = self._ray.get_runtime_context().get_node_id()
        named = (name for node in self._ray.nodes() if node["NodeID"] == here for name in node["Resources"])
        own = next(name for name in named if name.startswith("node:") and not name.startswith("node:__"))
        return (
            self._ray.remote(Mailbox)
            .options(
                num_cpus=0,
                max_concurrency=4 * _MOST_AT_ONCE,
                max_restarts=-1,
                resources={own: _LEAST},
            )
            .remote()
        )

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                self._room = await asyncio.to_thread(self._find_room)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look may succeed
                _log.warning("the nodes of the Ray cluster cannot be listed: %s", error)
            self._places.fill()

    def _check_room(self) -> None:
        if self._room == 0:
            raise RayError(f"no node of the Ray cluster at {self.options.address} has {_asked(self.options)}")

    def _find_room(self) -> int:
        """Return how many functions all nodes have room for."""
        wanted = {"CPU": self.options.cpus, "GPU": self.options.gpus, "memory": self.options.memory * _GIB}
        rooms = [
            min(math.floor(node["Resources"].get(name, 0) / need) for name, need in wanted.items() if need)
            for node in self._ray.nodes()
            if node["Alive"]
        ]
        return sum(rooms)


def _asked(options: RayOptions) -> str:
    memory = f", {options.memory:g} GiB" if options.memory else ""
    return f"{options.cpus:g} CPUs, {options.gpus:g} GPUs{memory}: ask for less in [executor]"
