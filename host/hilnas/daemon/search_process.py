"""A search in a process of its own, for a daemon: `python -m hilnas.daemon.search_process FOLDER SEARCH_ID`.

It measures on the daemon's devices, over its socket, and says on standard output, a line of JSON each, what it is
doing. It ends with the daemon; what it had finished is in the record, and the next start goes on from there.
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc

from hilnas.daemon.agents import Devices
from hilnas.daemon.lab import Lab
from hilnas.daemon.place import Place
from hilnas.daemon.run import Run, run_search
from hilnas.errors import HilnasError
from hilnas.executors import Executor
from hilnas.farm.remote import RemoteFarm
from hilnas.plugins import Axis, find
from hilnas.recipe import check_recipe
from hilnas.store import Record

FINISHED, FAILED, STOPPED = 0, 1, 130
"""Exit codes."""
_TELL_S = 0.5
_PR_SET_PDEATHSIG = 1
_CHANNEL = [("grpc.max_receive_message_length", 64 * 2**20), ("grpc.keepalive_time_ms", 60_000)]


def main(argv: list[str]) -> int:
    """Run the search that `argv` names; return the exit code."""
    folder, search_id, parent = Path(argv[0]), argv[1], int(argv[2])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return STOPPED  # it ended before that took hold
    try:
        return asyncio.run(_run(Lab.open(folder), search_id))
    except HilnasError as error:
        traceback.print_exc()  # to process.log, with what caused it
        _tell({"failed": str(error)})
    except OSError as error:
        traceback.print_exc()
        _tell({"failed": f"{error.filename or 'this machine'}: {error.strerror or error}"})
    return FAILED


async def _run(lab: Lab, search_id: str) -> int:
    place = Place(lab.search_folder(search_id), lab.store, search_id, lab.models.folder)
    record = Record(lab.store)
    try:
        (search,) = [search for search in record.searches() if search.id == search_id]
    finally:
        record.close()
    recipe = check_recipe(search.recipe)
    shown: list[Run] = []

    @asynccontextmanager
    async def machinery(run: Run) -> AsyncIterator[tuple[Devices, Executor]]:
        executor: Executor = find(Axis.EXECUTOR, recipe.executor.name)(
            recipe.options(Axis.EXECUTOR), run.folder
        )
        async with grpc.aio.insecure_channel(f"unix:{lab.socket}", options=_CHANNEL) as channel:
            farm = RemoteFarm(channel, search_id)
            if recipe.farm.quiet:
                farm.on_measuring_here = lambda here: executor.pause() if here else executor.resume()
            farm.start()
            try:
                wanted = {o.device_class for o in recipe.objective if o.device_class is not None}
                run.phase = f"waiting for a device of class {', '.join(sorted(wanted)) or 'any'}"
                yield Devices(farm, await farm.wait_for(wanted), None), executor
            finally:
                await farm.close()
                await executor.close()

    task = asyncio.ensure_future(
        run_search(recipe, place, resume=True, show=shown.append, machinery=machinery)
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    teller = asyncio.create_task(_keep_telling(shown))
    try:
        await task
    except asyncio.CancelledError:
        return STOPPED
    else:
        return FINISHED
    finally:
        teller.cancel()
        with suppress(asyncio.CancelledError):
            await teller


async def _keep_telling(shown: list[Run]) -> None:
    last: dict[str, Any] = {}
    while True:
        if shown:
            now = _news(shown[-1])
            if now != last:
                _tell(now)
                last = now
        await asyncio.sleep(_TELL_S)


def _news(run: Run) -> dict[str, Any]:
    trials = run.history.trials if run.history is not None else []
    rewards = [trial.score.reward for trial in trials if trial.score is not None]
    return {
        "phase": run.phase,
        "trials": run.loop.counted if run.loop is not None else len(trials),
        "wanted": run.recipe.search.trials,
        "best_reward": max(rewards, default=None),
    }


def _tell(news: dict[str, Any]) -> None:
    print(json.dumps(news), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
