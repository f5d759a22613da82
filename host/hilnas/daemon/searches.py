"""The searches of a daemon: which run, which wait, each in a process of its own."""

import asyncio
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from hilnas.daemon.lab import Lab
from hilnas.daemon.progress import Progress
from hilnas.daemon.search_process import FINISHED, STOPPED
from hilnas.errors import HilnasError
from hilnas.farm import Farm
from hilnas.farm.shares import Asker, Priority
from hilnas.recipe import check_recipe
from hilnas.store import StoreError
from hilnas.store.lab import ENDED, SearchStatus, Submission, Submissions
from hilnas.versions import versions

_log = logging.getLogger(__name__)

MOST_RESTARTS = 3
"""A search whose process dies so often without a word has FAILED."""
_STOP_S = 30.0
_KEEP_EVERY_S = 10.0
_LINE = 1 << 20


class SearchRequestError(HilnasError, RuntimeError):
    """What is asked of a search cannot be done; the message says why."""


class UnknownSearchError(SearchRequestError):
    """There is no such search."""


@dataclass
class Running:
    """A search as this daemon has it."""

    submission: Submission
    process: asyncio.subprocess.Process | None = None
    keeper: "asyncio.Task[None] | None" = None
    news: Mapping[str, Any] = field(default_factory=dict)
    """What its process last said: phase, trials, wanted, best_reward."""
    failed: str = ""
    restarts: int = 0
    wanted: SearchStatus = SearchStatus.RUNNING
    """What it is to be: a stop of its process is then no accident."""
    device_s: float = 0.0
    unkept: bool = False
    """Does the record not have its status yet?"""
    kept: Progress = field(default_factory=Progress)
    """How far it was when that was last kept."""

    @property
    def progress(self) -> Progress:
        """Return how far it is."""
        return Progress(self.news, self.device_s)

    @property
    def id(self) -> str:
        """The search's id."""
        return self.submission.search.id

    @property
    def asker(self) -> Asker:
        """On whose behalf its jobs are."""
        s = self.submission
        return Asker(self.id, s.user, Priority[s.priority.upper()], s.weight)


class Searches:
    """All searches of a daemon. Belongs to one event loop."""

    def __init__(self, lab: Lab, submissions: Submissions, farm: Farm) -> None:
        self._lab, self._submissions, self._farm = lab, submissions, farm
        self._known: dict[str, Running] = {}
        for submission in reversed(submissions.all()):
            kept = Progress.read(lab.search_folder(submission.search.id))
            self._known[submission.search.id] = Running(
                submission, news=kept.news, device_s=kept.device_s, kept=kept
            )
        self._listeners: set[Callable[[str], None]] = set()
        self._draining = False

    def start(self) -> None:
        """Go on with what ran before, and with what waits."""
        for search in self._known.values():
            if search.submission.status is SearchStatus.RUNNING:
                search.submission = self._submissions.change(search.submission, SearchStatus.QUEUED)
        self._fill()

    async def close(self) -> None:
        """Stop all processes; they are RUNNING in the record, and go on with the next start."""
        self._draining = True
        await asyncio.gather(*(self._stop(search) for search in self._known.values()))
        self._keep_progress()

    async def keep_progress(self) -> None:
        """Keep from time to time how far searches are; for ever."""
        while True:
            await asyncio.sleep(_KEEP_EVERY_S)
            self._keep_progress()

    def _keep_progress(self) -> None:
        for search in self._known.values():
            if search.unkept:
                self._keep_status(search)
            progress = search.progress
            if progress == search.kept:
                continue
            try:
                progress.keep(self._lab.search_folder(search.id))
            except OSError as error:
                _log.error("how far search %s is was not kept: %s", search.id, error)
            else:
                search.kept = progress

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener` with the id of a search whenever there is news of it; return how to end that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def all(self) -> list[Running]:
        """Return all searches, the newest first."""
        return list(reversed(self._known.values()))

    def find(self, named: str) -> Running:
        """Return a search by its id, the beginning of one, or its name. UnknownSearchError without one."""
        if named in self._known:
            return self._known[named]
        searches = self.all()
        by_name = [search for search in searches if search.submission.search.name == named]
        by_id = [search for search in searches if search.id.startswith(named)] if len(named) >= 4 else []
        if by_name:
            return by_name[0]
        if len(by_id) == 1:
            return by_id[0]
        if by_id:
            raise UnknownSearchError(f'"{named}" begins the ids of {len(by_id)} searches: write more of it')
        raise UnknownSearchError(f'there is no search "{named}": see `hilnas search list`')

    def submit(self, recipe: Mapping[str, Any], user: str, priority: str, weight: float) -> Running:
        """Take up a search. OptionsError or SearchRequestError says what is wrong with it."""
        if self._draining:
            raise SearchRequestError("the daemon is about to leave: submit again when it is back")
        if priority.upper() not in Priority.__members__:
            raise SearchRequestError(f'priority "{priority}" is none of high, normal, low')
        if not weight > 0:
            raise SearchRequestError(f"weight is {weight}: give one above 0")
        checked = check_recipe(recipe)
        added = self._submissions.add(
            checked.search.name, checked.search.seed, recipe, versions(), user, priority.lower(), weight
        )
        search = self._known[added.search.id] = Running(added)
        _log.info("search %s submitted", search.id, extra={"search": search.id, "user": user})
        self._tell(search)
        self._fill()
        return search

    async def change(self, search: Running, action: str) -> None:
        """Pause, resume, cancel or remove a search. SearchRequestError when its status does not allow that."""
        status = search.submission.status
        match action:
            case "pause" if status in (SearchStatus.QUEUED, SearchStatus.RUNNING):
                await self._end(search, SearchStatus.PAUSED)
            case "cancel" if status not in ENDED:
                await self._end(search, SearchStatus.CANCELLED)
                self._farm.withdraw(search.id)
                self._farm.accounts.shares.forget(search.asker)
            case "resume" if status in (SearchStatus.PAUSED, SearchStatus.FAILED):
                search.restarts, search.failed = 0, ""
                self._set(search, SearchStatus.QUEUED)
            case "remove" if status in ENDED:
                del self._known[search.id]
                self._submissions.remove(search.submission)
                await asyncio.to_thread(shutil.rmtree, self._lab.search_folder(search.id), ignore_errors=True)
            case "pause" | "cancel" | "resume" | "remove":
                raise SearchRequestError(f"{search.submission.search.name} is {status}: it cannot {action}")
            case _:
                raise SearchRequestError(f'"{action}" is none of pause, resume, cancel, remove')
        self._fill()

    def _fill(self) -> None:
        """Start what waits while there is room: by priority, then in the order of submission."""
        if self._draining:
            return
        running = sum(s.submission.status is SearchStatus.RUNNING for s in self._known.values())
        waiting = [s for s in self._known.values() if s.submission.status is SearchStatus.QUEUED]
        for search in sorted(waiting, key=lambda s: s.asker.priority)[
            : max(0, self._lab.options.searches - running)
        ]:
            self._settle(search, SearchStatus.RUNNING)
            search.wanted = SearchStatus.RUNNING
            search.keeper = asyncio.create_task(self._keep(search), name=f"search {search.id}")

    async def _keep(self, search: Running) -> None:
        """Run a search's process to its end, again where it dies without a word."""
        try:
            while True:
                code = await self._run_process(search)
                if search.wanted is not SearchStatus.RUNNING or self._draining:
                    return
                if code == FINISHED:
                    self._settle(search, SearchStatus.FINISHED)
                    self._farm.accounts.shares.forget(search.asker)
                    break
                search.restarts += code != STOPPED
                if search.failed or search.restarts > MOST_RESTARTS:
                    why = search.failed or f"its process ended {search.restarts} times, last with {code}"
                    self._settle(search, SearchStatus.FAILED, f"{why}; see process.log of its results")
                    break
                _log.warning("the process of search %s ended with %s; starting it again", search.id, code)
                await asyncio.sleep(search.restarts)
        except OSError as error:
            self._settle(search, SearchStatus.FAILED, f"its process could not be started: {error}")
        finally:
            search.process = None
        self._fill()

    async def _run_process(self, search: Running) -> int:
        folder = self._lab.search_folder(search.id)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "process.log").open("ab") as log:
            search.process = process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "hilnas.daemon.search_process",
                str(self._lab.folder), search.id, str(os.getpid()),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log,
                start_new_session=True, limit=_LINE,
            )  # fmt: skip
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                news = json.loads(line)
            except ValueError:
                continue  # something that a plug-in printed
            if isinstance(news, dict):
                search.failed = news.get("failed", "")
                search.news = news if not search.failed else search.news
                self._tell(search)
        return await process.wait()

    async def _end(self, search: Running, status: SearchStatus) -> None:
        search.wanted = status
        self._set(search, status)
        await self._stop(search)

    async def _stop(self, search: Running) -> None:
        process, keeper = search.process, search.keeper
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_S)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
        if keeper is not None:
            with suppress(asyncio.CancelledError):
                await keeper

    def _set(self, search: Running, status: SearchStatus, message: str = "") -> None:
        """Set a status. StoreError when it cannot be kept: it is not set then."""
        search.submission = self._submissions.change(search.submission, status, message)
        search.unkept = False
        level = logging.WARNING if status is SearchStatus.FAILED else logging.INFO
        told = f": {message}" if message else ""
        extra = {"search": search.id, "status": str(status)}
        _log.log(level, "search %s is %s%s", search.id, status, told, extra=extra)
        self._tell(search)

    def _settle(self, search: Running, status: SearchStatus, message: str = "") -> None:
        """Set a status that is a fact, whether it can be kept now or, on a full disk, later."""
        try:
            self._set(search, status, message)
        except StoreError as error:
            _log.error("search %s is %s, which is kept later: %s", search.id, status, error)
            search.submission = replace(search.submission, status=status, message=message)
            search.unkept = True
            self._tell(search)

    def _keep_status(self, search: Running) -> None:
        now = search.submission
        try:
            search.submission = self._submissions.change(now, now.status, now.message)
        except StoreError as error:
            _log.error("the status of search %s is still not kept: %s", search.id, error)
        else:
            search.unkept = False

    def _tell(self, search: Running) -> None:
        for listener in list(self._listeners):
            listener(search.id)
