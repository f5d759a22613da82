"""Follows a search on a daemon, through lost links and restarts."""

import json
import time
from typing import Any

from rich.console import Console

from hilnas.daemon.client import AwayError, Where, daemon_at
from hilnas_protos.v1 import daemon_pb2 as api

_PAUSE_S = (0.5, 10.0)
_ENDS = ("scored", "invalid", "failed")
_DONE = ("FINISHED", "CANCELLED", "FAILED")


def watch_search(where: Where, named: str, after: int = 0, as_json: bool = False) -> int:
    """Print a search's events until it ends: 0 when it has finished, 1 when it failed or was cancelled."""
    console, pause_s, lost, begun = Console(stderr=as_json), _PAUSE_S[0], False, False
    last, shown = after, None
    while True:
        try:
            with daemon_at(where) as stubs:
                request = api.WatchSearchRequest(search=named, after=last)
                for news in stubs.searches.WatchSearch(request):
                    begun = True
                    if lost:
                        console.print("the daemon is back", highlight=False)
                        lost, pause_s = False, _PAUSE_S[0]
                    if news.HasField("search"):
                        named, shown = news.search.id, _show(console, news.search, shown, as_json)
                    if news.kind:
                        last = news.number
                        _event(console, news, shown, as_json)
        except AwayError:
            if not begun:
                raise  # it was not there to begin with
            if not lost:
                console.print("the daemon does not answer; waiting for it", highlight=False)
            lost = True
            time.sleep(pause_s)
            pause_s = min(_PAUSE_S[1], pause_s * 2)
            continue
        if shown is not None and shown.status in _DONE:
            return 0 if shown.status == "FINISHED" else 1


def _show(console: Console, now: Any, before: Any, as_json: bool) -> Any:
    """Say what has changed of a search itself."""
    if as_json:
        from hilnas.cli.search import as_dict

        print(json.dumps({"search": as_dict(now)}), flush=True)
    elif before is None or (now.status, now.phase, now.message) != (
        before.status,
        before.phase,
        before.message,
    ):
        text = f"{now.name} is {now.status.lower()}" + (f": {now.phase}" if now.phase else "")
        console.print(text + (f": {now.message}" if now.message else ""), highlight=False, markup=False)
    return now


def _event(console: Console, news: Any, search: Any, as_json: bool) -> None:
    payload = json.loads(news.payload)
    if as_json:
        told = {"number": news.number, "at_unix": news.at_unix, "kind": news.kind, "trial": news.trial}
        print(json.dumps(told | {"payload": payload}), flush=True)
    elif news.kind in _ENDS:
        what = f"reward {payload['reward']:.4g}" if news.kind == "scored" else payload.get("reason", "")
        wanted = search.trials_wanted if search is not None else "?"
        console.print(f"trial {news.trial} of {wanted}: {news.kind}, {what}", highlight=False, markup=False)
