"""SearchService: what people and scripts ask of searches."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from hilnas.daemon.access import Access, own, refuse
from hilnas.daemon.bounds import check_executor, check_paths, check_plugins
from hilnas.daemon.lab import Lab
from hilnas.daemon.searches import Running, Searches, UnknownSearchError
from hilnas.errors import HilnasError
from hilnas.recipe import check_recipe
from hilnas.store import Record
from hilnas.store.lab import ENDED
from hilnas_protos.v1 import daemon_pb2 as api
from hilnas_protos.v1 import daemon_pb2_grpc

RESULT_FILES = ("result.json", "report.html", "model.tflite", "model_card.md", "architecture.json")
"""What a search leaves for people."""
_CHUNK = 64 * 2**10
_BATCH = 200
_POLL_S = 1.0


class SearchService(daemon_pb2_grpc.SearchServiceServicer):
    """Serves the searches of a daemon."""

    def __init__(self, lab: Lab, searches: Searches, record: Record, access: Access) -> None:
        self._lab, self._searches, self._record, self._access = lab, searches, record, access

    async def Submit(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take up a search."""
        caller = await self._access.caller(context)
        priority = request.priority or "normal"
        if priority == "high" and not caller.is_admin:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, 'priority "high" needs an admin')
        try:
            recipe = dict(json.loads(request.recipe))
            if not caller.is_admin:
                options = self._lab.options
                check_plugins(recipe, options.user_plugins)
                checked = check_recipe(recipe)
                check_paths(checked, [*options.user_data, self._lab.searches])
                check_executor(checked, options.user_plugins, options.user_clusters)
            user = caller.name or request.user or "local"
            return view(self._searches.submit(recipe, user, priority, request.weight or 1.0))
        except HilnasError as error:
            await refuse(context, error)
        except (ValueError, TypeError) as error:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"the recipe or its weight is wrong: {error}"
            )

    async def ListSearches(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return all searches."""
        await self._access.caller(context)
        return api.ListSearchesResponse(searches=[view(search) for search in self._searches.all()])

    async def GetSearch(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return one search."""
        await self._access.caller(context)
        return view(await self._find(request.search, context))

    async def ChangeSearch(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Pause, resume or cancel a search."""
        search = await self._find(request.search, context)
        name = search.submission.search.name
        await own(self._access, context, search.submission.user, f"search {name}")
        try:
            await self._searches.change(search, request.action)
        except HilnasError as error:
            await refuse(context, error)
        return view(search)

    async def WatchSearch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Send a search's events, old and new."""
        await self._access.caller(context)
        search = await self._find(request.search, context)
        last, news = request.after, asyncio.Event()
        end = self._searches.listen(lambda search_id: news.set() if search_id == search.id else None)
        try:
            shown = view(search)
            yield api.WatchSearchResponse(search=shown)
            while True:
                # Looked at before the events: what happens in between is then seen the next time.
                ended = search.submission.status in ENDED and search.process is None
                batch = await asyncio.to_thread(self._record.events_after, search.id, last, _BATCH)
                for last, event in batch:
                    yield api.WatchSearchResponse(
                        number=last, at_unix=event.at_unix, kind=event.kind.value, trial=event.trial,
                        payload=json.dumps(event.payload),
                    )  # fmt: skip
                if (now := view(search)) != shown:
                    shown = now
                    yield api.WatchSearchResponse(search=shown)
                await self._access.caller(context)  # who has been revoked sees no more
                if batch:
                    continue
                if ended:
                    return
                news.clear()
                try:
                    await asyncio.wait_for(news.wait(), _POLL_S)
                except TimeoutError:
                    continue
        finally:
            end()

    async def FetchResults(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Send the files of a search's results."""
        await self._access.caller(context)
        search = await self._find(request.search, context)
        folder = self._lab.search_folder(search.id)
        found = [folder / name for name in RESULT_FILES if (folder / name).is_file()]
        if not found:
            name = search.submission.search.name
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{name} has no results yet (it is {search.submission.status}): they are written when it ends or pauses",
            )
        for path in found:
            content = await asyncio.to_thread(Path.read_bytes, path)
            yield api.FetchResultsResponse(name=path.name, size_bytes=len(content))
            for start in range(0, len(content), _CHUNK):
                yield api.FetchResultsResponse(chunk=content[start : start + _CHUNK])

    async def _find(self, named: str, context: Any) -> Running:
        try:
            return self._searches.find(named)
        except UnknownSearchError as error:
            await refuse(context, error)


def view(search: Running) -> Any:
    """Return a search as the wire has it."""
    s, news = search.submission, search.news
    recipe = s.search.recipe
    wanted = news.get("wanted") or recipe.get("search", {}).get("trials", 0)
    return api.Search(
        id=s.search.id,
        name=s.search.name,
        user=s.user,
        status=s.status.value,
        message=s.message,
        phase=news.get("phase", "") if s.status == "RUNNING" else "",
        priority=s.priority,
        weight=s.weight,
        created_unix=s.search.created_unix,
        trials=news.get("trials", 0),
        trials_wanted=wanted,
        device_s=search.device_s,
        recipe=json.dumps(recipe),
        best_reward=news.get("best_reward"),
    )
